package verifycmd

import (
	"context"
	"time"

	"github.com/caudalpay/caudal/sinks/audit"
)

// lagPatience is how long stores of a running installation may take to catch up; ClickHouse takes a batch a second.
const lagPatience = 10 * time.Second

// patient verifies again while something only lags. A difference is reported at once.
func patient(ctx context.Context, cfg audit.Config, patience time.Duration) (audit.Report, error) {
	for until := time.Now().Add(patience); ; {
		report, err := audit.Verify(ctx, cfg)
		if err != nil || !report.Behind() || time.Now().After(until) {
			return report, err //nolint:wrapcheck // its caller says what was tried
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return report, ctx.Err() //nolint:wrapcheck // as above
		}
	}
}
