package clickhouse

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// roomLeast is the free disk space under which nothing is inserted.
const roomLeast = 32 << 20

// roomy refuses a store whose disk is almost full. There ClickHouse may acknowledge rows that it has not: what was inserted
// last must stay the last until there is room, since only that is compared with the log.
func roomy(ctx context.Context, conn driver.Conn) error {
	var name string
	var free uint64
	if err := conn.QueryRow(ctx, `SELECT name, free_space FROM system.disks ORDER BY free_space LIMIT 1`).Scan(&name, &free); err != nil {
		return fmt.Errorf("asking clickhouse for free disk space: %w", err)
	}
	if free < roomLeast {
		return fmt.Errorf("clickhouse: disk %s is almost full, %d MB left for it: make room, the sink goes on from %d MB", name, free>>20, roomLeast>>20)
	}
	return nil
}
