package child

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// Listen opens a TCP listener that is to be inherited by a child. A port that is taken is tried again for
// a few seconds: the child of a parent that was just killed holds it until it has finished.
func Listen(ctx context.Context, addr string) (*net.TCPListener, error) {
	deadline := time.Now().Add(5 * time.Second)
	for {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		if err == nil {
			tcp, ok := l.(*net.TCPListener)
			if !ok {
				return nil, fmt.Errorf("%s is no TCP address", addr)
			}
			return tcp, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
