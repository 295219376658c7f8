package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Profile is the top of one process's processor profile, taken while the house works at its most.
type Profile struct {
	Part string `json:"part"`
	Top  string `json:"top"`
}

const profileSeconds = 10

// profile makes load a while longer and looks where the time of the parts goes, by the path of their profiles. It does
// nothing where no profile is asked for.
func (b *bench) profile(ctx context.Context, what string, paths map[string]string, load func(limit time.Duration) error) error {
	if b.options.Profile == "" {
		return nil
	}
	b.say("profiling %s for %d s", what, profileSeconds)
	if err := os.MkdirAll(b.options.Profile, 0o755); err != nil { //nolint:gosec // documents
		return fmt.Errorf("making the folder of profiles: %w", err)
	}
	if len(b.options.Brokers) > 0 {
		delete(paths, partBroker)
	}
	g, gctx := errgroup.WithContext(ctx)
	files := map[string]string{}
	for part, path := range paths {
		file := filepath.Join(b.options.Profile, strings.NewReplacer(" ", "-", ",", "").Replace(what)+strings.ReplaceAll(cmp.Or(path, "/up"), "/", "-")+".pprof")
		files[part] = file
		g.Go(func() error { return save(gctx, b.report.pprof+path, file) })
	}
	if err := errors.Join(load((profileSeconds+1)*time.Second), g.Wait()); err != nil {
		return fmt.Errorf("profiling %s: %w", what, err)
	}
	for _, part := range partNames() {
		if files[part] == "" {
			continue
		}
		p := Profile{Part: what + ": " + part}
		p.Top = showProfile(ctx, files[part], "-top") + showProfile(ctx, files[part], "-tags")
		b.report.Profiles = append(b.report.Profiles, p)
	}
	return nil
}

// showProfile is the text that Go's own tool makes of a profile.
func showProfile(ctx context.Context, file, how string) string {
	out, err := exec.CommandContext(ctx, "go", "tool", "pprof", how, "-nodecount=25", file).Output() //nolint:gosec // own files
	if err != nil {
		return fmt.Sprintf("not shown (%v); the profile is %s\n", err, file)
	}
	return string(out)
}

func save(ctx context.Context, base, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", base, profileSeconds), nil)
	if err != nil {
		return fmt.Errorf("asking for a profile: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking for a profile: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // read below
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("asking %s for a profile: %s", base, resp.Status)
	}
	f, err := os.Create(file) //nolint:gosec // the operator names the folder
	if err != nil {
		return fmt.Errorf("keeping a profile: %w", err)
	}
	_, err = io.Copy(f, resp.Body)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("keeping a profile: %w", err)
	}
	return nil
}
