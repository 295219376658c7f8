package engine

import (
	"context"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// joins follows co-partitioned tables, read_committed, as far as they belong to the partitions that this process has.
type joins struct {
	topics []string
	client *kgo.Client // nil without tables

	mu       sync.Mutex
	tables   map[changelog]*followed
	unwanted map[int32]bool // partitions that went away; open may still come for them
}

func newJoins(topics []string) *joins {
	return &joins{topics: topics, tables: map[changelog]*followed{}, unwanted: map[int32]bool{}}
}

// connect makes the client; follow must run for open to end.
func (j *joins) connect(options []kgo.Opt) (err error) {
	if len(j.topics) == 0 {
		return nil
	}
	j.client, err = kgo.NewClient(append(options, followOptions()...)...)
	if err != nil {
		return fmt.Errorf("opening join client: %w", err)
	}
	return nil
}

func (j *joins) close() {
	if j.client != nil {
		j.client.Close()
	}
}

func (j *joins) follow(ctx context.Context) error {
	return followAll(ctx, j.client, func(fp kgo.FetchTopicPartition) {
		j.sweep()
		if t := j.table(changelog{fp.Topic, fp.Partition}); t != nil {
			t.apply(fp)
		}
	})
}

func (j *joins) table(log changelog) *followed {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.tables[log]
}

// begin hands the tables of partitions to them, as far as they are known.
func (j *joins) begin(parts []*partition) {
	for _, topic := range j.topics {
		add := map[int32]kgo.Offset{}
		for _, p := range parts {
			log := changelog{topic, p.id}
			j.mu.Lock()
			delete(j.unwanted, p.id)
			if j.tables[log] == nil {
				j.tables[log] = newFollowed()
				add[p.id] = kgo.NewOffset().AtStart()
			}
			p.joined[topic] = j.tables[log]
			j.mu.Unlock()
		}
		j.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: add})
	}
}

// open returns when the tables of the partitions are known up to their ends as of now.
func (j *joins) open(ctx context.Context, parts []*partition) error {
	j.begin(parts)
	for _, topic := range j.topics {
		ends, err := committedEnds(ctx, kadm.NewClient(j.client), topic)
		if err != nil {
			return err
		}
		for _, p := range parts {
			if end, ok := ends[p.id]; ok {
				if err := p.joined[topic].reach(ctx, map[int32]int64{p.id: end}); err != nil {
					return fmt.Errorf("following %s partition %d to its end: %w", topic, p.id, err)
				}
			}
		}
	}
	return nil
}

// drop says that a partition's tables are not needed any more.
func (j *joins) drop(p *partition) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.unwanted[p.id] = true
	clear(p.joined)
}

// sweep frees what is not needed. Only whoever polls may: else rows of before could be taken for those of a table opened anew.
func (j *joins) sweep() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for id := range j.unwanted {
		for _, topic := range j.topics {
			delete(j.tables, changelog{topic, id})
			j.client.RemoveConsumePartitions(map[string][]int32{topic: {id}})
		}
	}
	clear(j.unwanted)
}
