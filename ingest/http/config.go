package http

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is what the front door can be told. The zero value of a number means its default.
type Config struct {
	Address        string        // host:port to listen on
	WaitDefault    time.Duration // how long a single write waits for its decision; 5 s
	WaitMax        time.Duration // cap of Prefer: wait; 30 s
	ReadWait       time.Duration // how long a read waits for a payment that is not there yet; 2 s
	SeqWait        time.Duration // how long a read waits for min_seq; 5 s
	ReadTimeout    time.Duration // headers and body of one request; 10 s
	WriteTimeout   time.Duration // one answer; 10 s
	IdleTimeout    time.Duration // between two requests of a connection; 60 s
	ShutdownGrace  time.Duration // what is in flight may end within it; 15 s
	ConnsMax       int           // connections at a time; 16,384
	ConnsPerIPMax  int           // 0: no limit, for behind a proxy
	RecentKeys     int           // remembered idempotency keys; 65,536
	BatchItemsMax  int           // 1,000
	BodyMaxBytes   int           // single writes; 16 KiB
	BatchMaxBytes  int           // 4 MiB
	HookMaxBytes   int           // notifications of processors; 64 KiB
	PolicyDefault  string        // of accounts that name none; standard
	RetryAfter     time.Duration // said with 503; 1 s
	HeaderMaxBytes int           // request line and headers; 8 KiB
}

// Check is one part that has to be ready before the door is.
type Check struct {
	Name  string
	Ready func() error
}

// Ports are what the front door stands on.
type Ports struct {
	Commands Commands
	Accounts Accounts
	Cards    Cards
	Pins     Pins
	Policies Policies
	Sealer   Sealer
	Store    Store
	Keys     *Keyring
	Webhooks Webhooks // nil: no processor notifies here
	Checks   []Check
	// Known are the directories: before they are ready no caller is answered, or what they have not read yet would be called
	// unknown, also where somebody asks for, or retries, what stands in the log.
	Known    []func() error
	Now      func() time.Time
	Log      *slog.Logger
	Metrics  prometheus.Registerer
	Gatherer prometheus.Gatherer // what GET /metrics shows
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{
		{&c.WaitDefault, 5 * time.Second},
		{&c.WaitMax, 30 * time.Second},
		{&c.ReadWait, 2 * time.Second},
		{&c.SeqWait, 5 * time.Second},
		{&c.ReadTimeout, 10 * time.Second},
		{&c.WriteTimeout, 10 * time.Second},
		{&c.IdleTimeout, time.Minute},
		{&c.ShutdownGrace, 15 * time.Second},
		{&c.RetryAfter, time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	for _, d := range []struct {
		value *int
		usual int
	}{
		{&c.ConnsMax, 16_384},
		{&c.RecentKeys, 65_536},
		{&c.BatchItemsMax, 1_000},
		{&c.BodyMaxBytes, 16 << 10},
		{&c.BatchMaxBytes, 4 << 20},
		{&c.HookMaxBytes, 64 << 10},
		{&c.HeaderMaxBytes, 8 << 10},
	} {
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	if c.PolicyDefault == "" {
		c.PolicyDefault = "standard"
	}
	return c
}

// Validate says what cannot be meant.
func (c Config) Validate() error {
	c = c.withDefaults()
	for name, v := range map[string]time.Duration{
		"wait default": c.WaitDefault, "wait max": c.WaitMax, "read wait": c.ReadWait, "seq wait": c.SeqWait,
		"read timeout": c.ReadTimeout, "write timeout": c.WriteTimeout, "idle timeout": c.IdleTimeout,
		"shutdown grace": c.ShutdownGrace, "retry after": c.RetryAfter,
	} {
		if v < 0 {
			return fmt.Errorf("checking configuration: %s is negative", name)
		}
	}
	if c.WaitDefault > c.WaitMax {
		return errors.New("checking configuration: the default wait is longer than the longest")
	}
	if min(c.ConnsMax, c.RecentKeys, c.BatchItemsMax, c.BodyMaxBytes, c.BatchMaxBytes, c.HookMaxBytes, c.HeaderMaxBytes) <= 0 || c.ConnsPerIPMax < 0 {
		return errors.New("checking configuration: a limit is negative")
	}
	if !isName(c.PolicyDefault) {
		return errors.New("checking configuration: the default policy is not an id")
	}
	return nil
}

func (p Ports) validate() error {
	if p.Commands == nil || p.Accounts == nil || p.Cards == nil || p.Pins == nil || p.Policies == nil || p.Sealer == nil || p.Store == nil || p.Keys == nil ||
		p.Now == nil || p.Log == nil || p.Metrics == nil || p.Gatherer == nil {
		return errors.New("checking ports: one is missing")
	}
	return nil
}
