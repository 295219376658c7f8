package engine

import (
	"testing"
	"time"
)

func TestOneSlowCommitHardlyLengthensTheGap(t *testing.T) {
	price := time.Duration(0)
	for range 100 {
		price = smoothed(price, 2*time.Millisecond)
	}
	if price != 2*time.Millisecond {
		t.Fatalf("the price of even commits is %v, want what each takes", price)
	}
	if got := smoothed(price, 3*time.Second); got > 2250*time.Microsecond {
		t.Errorf("after one slow commit the price is %v, want an eighth more at most", got)
	}
	for range 40 {
		price = smoothed(price, 10*time.Millisecond)
	}
	if price < 9*time.Millisecond {
		t.Errorf("the price is %v after 40 commits of 10ms, want it to follow", price)
	}
}
