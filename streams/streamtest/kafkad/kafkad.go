// Package kafkad runs Apache Kafka itself for tests: one combined broker and controller, or three with replication 3 and
// min.insync.replicas 2, on free ports of the loopback, all of it in one folder. Brokers end with the process that started
// them, however that ends, unless they are asked to stay (make kafka-up).
//
// It is no way to run Kafka in production: no authentication, small heaps, nothing that watches it.
package kafkad

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	startTimeout = 90 * time.Second
	pollEvery    = 50 * time.Millisecond
	attemptsMax  = 3 // a port that was free when it was chosen may be taken when the broker wants it
	planFile     = "cluster.json"
)

// Config describes a cluster.
type Config struct {
	Dir     string // everything is kept here; a folder that holds a cluster starts it again, with its ports
	Brokers int    // 1 or 3
	HeapMiB int    // 0: 1,024 for one broker, 512 each for three
	// ShortLived brokers start in half the time and never come to full speed.
	ShortLived bool
	// Stay lets the brokers outlive this process; Down ends them.
	Stay     bool
	Progress io.Writer // nil: none

	jvm []string // flags of the virtual machine
}

func (c Config) withDefaults() (Config, error) {
	if c.Brokers != 1 && c.Brokers != 3 {
		return c, fmt.Errorf("%d brokers: choose 1 or 3", c.Brokers)
	}
	if c.HeapMiB == 0 {
		c.HeapMiB = 1024
		if c.Brokers > 1 {
			c.HeapMiB = 512
		}
	}
	c.jvm = []string{"-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35"}
	if c.ShortLived {
		c.jvm = shortLived()
	}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	var err error
	c.Dir, err = filepath.Abs(c.Dir)
	return c, err
}

func shortLived() []string { return []string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"} }

// plan is what must stay the same over restarts.
type plan struct {
	ClusterID string `json:"cluster_id"`
	Nodes     []node `json:"nodes"`
}

type node struct {
	ID             int    `json:"id"`
	Port           int    `json:"port"`
	ControllerPort int    `json:"controller_port"`
	DirectoryID    string `json:"directory_id"`
}

// Cluster is what Start started.
type Cluster struct {
	cfg     Config
	lib     string // folder of the jars
	plan    plan
	brokers []*broker
}

// Start fetches what is missing, formats a new folder, starts the brokers, and returns when all of them answer.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("starting Apache Kafka: %w", err)
	}
	lib, err := Install(ctx, cfg.Progress)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		c, fresh, err := start(ctx, cfg, lib)
		if err == nil {
			return c, nil
		}
		if !fresh || attempt == attemptsMax || ctx.Err() != nil {
			return nil, fmt.Errorf("starting Apache Kafka: %w", err)
		}
		if err := os.RemoveAll(cfg.Dir); err != nil { // made by this call
			return nil, fmt.Errorf("starting Apache Kafka again: %w", err)
		}
	}
}

func start(ctx context.Context, cfg Config, lib string) (c *Cluster, fresh bool, err error) {
	c = &Cluster{cfg: cfg, lib: lib}
	if fresh, err = c.makePlan(ctx); err != nil {
		return nil, false, err
	}
	if fresh {
		if err := c.format(); err != nil {
			return nil, true, err
		}
	}
	_, _ = fmt.Fprintf(cfg.Progress, "starting %s\n", count(len(c.plan.Nodes), "broker"))
	for _, n := range c.plan.Nodes {
		b, err := c.launch(n)
		if err != nil {
			c.Kill()
			return nil, fresh, err
		}
		c.brokers = append(c.brokers, b)
	}
	if err := c.await(ctx); err != nil {
		c.Kill()
		return nil, fresh, err
	}
	return c, fresh, nil
}

// makePlan reads the folder's plan, or makes one where there is none.
func (c *Cluster) makePlan(ctx context.Context) (fresh bool, err error) {
	path := filepath.Join(c.cfg.Dir, planFile)
	text, err := os.ReadFile(path) //nolint:gosec // the folder is the caller's
	switch {
	case err == nil:
		if err := json.Unmarshal(text, &c.plan); err != nil {
			return false, fmt.Errorf("reading %s: %w", path, err)
		}
		if len(c.plan.Nodes) != c.cfg.Brokers {
			return false, fmt.Errorf("%s holds %s and not %d: choose another folder", c.cfg.Dir, count(len(c.plan.Nodes), "broker"), c.cfg.Brokers)
		}
		return false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("reading the cluster's plan: %w", err)
	}
	entries, err := os.ReadDir(c.cfg.Dir)
	if err == nil && len(entries) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("%s is neither empty nor a cluster of ours: choose another folder (%v)", c.cfg.Dir, err) //nolint:errorlint // nil mostly
	}
	ports, err := freePorts(ctx, 2*c.cfg.Brokers)
	if err != nil {
		return false, err
	}
	c.plan = plan{ClusterID: kafkaUUID()}
	for i := range c.cfg.Brokers {
		c.plan.Nodes = append(c.plan.Nodes, node{ID: i + 1, Port: ports[2*i], ControllerPort: ports[2*i+1], DirectoryID: kafkaUUID()})
	}
	if text, err = json.MarshalIndent(c.plan, "", "  "); err != nil {
		return false, err
	}
	if err := os.MkdirAll(c.cfg.Dir, 0o750); err != nil {
		return false, fmt.Errorf("making the data folder: %w", err)
	}
	return true, os.WriteFile(path, text, 0o600)
}

// format writes each broker's settings and lets Kafka's own tool make its folder. The first voters are the same for all.
func (c *Cluster) format() error {
	_, _ = fmt.Fprintf(c.cfg.Progress, "formatting %s\n", c.cfg.Dir)
	var voters []string
	for _, n := range c.plan.Nodes {
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d:%s", n.ID, n.ControllerPort, n.DirectoryID))
	}
	ended := make(chan error)
	for _, n := range c.plan.Nodes {
		go func() {
			if err := os.WriteFile(c.path(n, "properties"), []byte(c.properties(n)), 0o600); err != nil {
				ended <- err
				return
			}
			out, err := c.java(append(shortLived(), "-Xmx128m", "kafka.tools.StorageTool", "format",
				"--cluster-id", c.plan.ClusterID, "--initial-controllers", strings.Join(voters, ","), "--config", c.path(n, "properties"))...).CombinedOutput()
			if err != nil {
				err = fmt.Errorf("formatting broker %d: %w\n%s", n.ID, err, out)
			}
			ended <- err
		}()
	}
	var errs []error
	for range c.plan.Nodes {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}

// path is a file of a broker, beside its data folder.
func (c *Cluster) path(n node, suffix string) string {
	return filepath.Join(c.cfg.Dir, fmt.Sprintf("broker-%d.%s", n.ID, suffix))
}

// properties are Kafka's defaults but for replication, and for waits that only cost tests their time.
func (c *Cluster) properties(n node) string {
	var controllers []string
	for _, n := range c.plan.Nodes {
		controllers = append(controllers, "127.0.0.1:"+strconv.Itoa(n.ControllerPort))
	}
	replication := len(c.plan.Nodes)
	inSync := (replication + 1) / 2
	return fmt.Sprintf(`process.roles=broker,controller
node.id=%d
controller.quorum.bootstrap.servers=%s
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d
log.dirs=%s
auto.create.topics.enable=false
default.replication.factor=%d
min.insync.replicas=%d
offsets.topic.replication.factor=%d
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=%d
transaction.state.log.min.isr=%d
transaction.state.log.num.partitions=8
# A lone member would wait 3 s for others at its first join.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# A transaction whose producer died is looked for this often, 10 s unless told: so long its partitions would stand still.
transaction.abort.timed.out.transaction.cleanup.interval.ms=200
# Where the broker assigns, members learn of it by heartbeats at its interval: 5 s unless told.
group.consumer.heartbeat.interval.ms=100
group.consumer.min.heartbeat.interval.ms=100
group.consumer.session.timeout.ms=1500
group.consumer.min.session.timeout.ms=1500
`, n.ID, strings.Join(controllers, ","), n.Port, n.ControllerPort, c.path(n, "data"), replication, inSync, replication, replication, inSync)
}

// Addrs are the bootstrap addresses.
func (c *Cluster) Addrs() (addrs []string) {
	for _, n := range c.plan.Nodes {
		addrs = append(addrs, net.JoinHostPort("127.0.0.1", strconv.Itoa(n.Port)))
	}
	return addrs
}

// await returns when every broker by itself names all of them.
func (c *Cluster) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for i, addr := range c.Addrs() {
		if err := c.awaitOne(ctx, c.brokers[i], addr); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) awaitOne(ctx context.Context, b *broker, addr string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.MetadataMinAge(pollEvery))
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		asking, cancel := context.WithTimeout(ctx, time.Second)
		known, err := kadm.NewClient(client).ListBrokers(asking)
		cancel()
		if err == nil && len(known) == len(c.plan.Nodes) {
			return nil
		}
		select {
		case <-b.ended:
			return fmt.Errorf("broker %d ended at its start:\n%s", b.node.ID, logTail(c.path(b.node, "log")))
		case <-ctx.Done():
			return fmt.Errorf("broker %d knows %d of %d brokers (%v): %w\n%s", b.node.ID, len(known), len(c.plan.Nodes), err, ctx.Err(), //nolint:errorlint // the context's error is the one to look for
				logTail(c.path(b.node, "log")))
		case <-time.After(pollEvery):
		}
	}
}

// freePorts are free now: all are held until all are known.
func freePorts(ctx context.Context, n int) (ports []int, err error) {
	for range n {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("looking for free ports: %w", err)
		}
		defer func() { _ = l.Close() }() // only its number was wanted
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return nil, err
		}
		number, err := strconv.Atoi(port)
		if err != nil {
			return nil, err
		}
		ports = append(ports, number)
	}
	return ports, nil
}

// kafkaUUID is an id as Kafka writes them. It does not begin with a dash, which the tool would take for a flag.
func kafkaUUID() string {
	for {
		b := make([]byte, 16)
		_, _ = rand.Read(b) // never fails
		if id := base64.RawURLEncoding.EncodeToString(b); !strings.HasPrefix(id, "-") {
			return id
		}
	}
}

func logTail(path string) string {
	const most = 3000
	text, err := os.ReadFile(path) //nolint:gosec // the folder is the caller's
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
