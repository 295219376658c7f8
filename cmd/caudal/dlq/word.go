package dlq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/caudalpay/caudal/cmd/caudal/progress"
	"github.com/caudalpay/caudal/schemas/topics"
	"github.com/caudalpay/caudal/streams/engine"
)

// wordOptions are those of every word.
type wordOptions struct {
	by, reason string
	patience   time.Duration
}

func (w *wordOptions) flags(c *cobra.Command) {
	name := ""
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	c.Flags().StringVar(&w.by, "by", name, "who asks for it; it stands in the log")
	c.Flags().StringVar(&w.reason, "reason", "", "why, for who reads the log later (required)")
	c.Flags().DurationVar(&w.patience, "timeout", time.Minute, "how long to wait for the worker, from its last sign on")
	_ = c.MarkFlagRequired("reason") // fails for an unknown flag only
	c.PreRunE = func(*cobra.Command, []string) error { return cmp.Or(c.ValidateRequiredFlags(), w.check()) }
}

// check refuses a word that would stand in the log without a name or a reason.
func (w *wordOptions) check() error {
	switch {
	case strings.TrimSpace(w.reason) == "":
		return errors.New("--reason: say why, for who reads the log later")
	case strings.TrimSpace(w.by) == "":
		return errors.New("--by: say who asks for it; it stands in the log")
	default:
		return nil
	}
}

func (w *wordOptions) control(verb engine.Verb, offset int64) engine.Control {
	return engine.Control{Verb: verb, Offset: offset, By: w.by, Reason: w.reason}
}

// outcome is what came of a word.
type outcome struct {
	Account   string `json:"account"`
	Verb      string `json:"verb"`
	By        string `json:"by"`
	Reason    string `json:"reason"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"` // of the word on the command log
	Redriven  int64  `json:"redriven"`
	Discarded int64  `json:"discarded"`
	Left      int64  `json:"left"`
	Problem   string `json:"problem,omitempty"` // why it went no further
	ProblemAt int64  `json:"problem_at,omitempty"`
}

func (o *options) redriveCommand() *cobra.Command {
	var w wordOptions
	var all bool
	c := &cobra.Command{
		Use:   "redrive (ACCOUNT... | --all) --reason WHY",
		Short: "Have parked commands decided, in order, up to the first that still fails",
		Args: func(_ *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return errors.New("name the accounts to redrive, or say --all")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.speak(cmd, func(ctx context.Context, in *installation) ([]outcome, error) {
				if all {
					state, err := in.readParked(ctx, cmd.ErrOrStderr(), everyPartition)
					if err != nil {
						return nil, err
					}
					args = slices.Sorted(maps.Keys(state.records))
				} else if err := in.allParked(ctx, cmd.ErrOrStderr(), args); err != nil {
					return nil, err
				}
				var done []outcome
				for _, key := range args {
					did, err := in.say(ctx, cmd.ErrOrStderr(), key, w.control(engine.Redrive, 0), w.patience)
					if err != nil {
						return done, err
					}
					done = append(done, did)
				}
				return done, nil
			})
		},
	}
	w.flags(c)
	c.Flags().BoolVar(&all, "all", false, "every account that is parked")
	return c
}

// allParked refuses keys of which nothing is parked, before anything is said about the others.
func (in *installation) allParked(ctx context.Context, draw io.Writer, keys []string) error {
	states := map[int32]*parkedState{}
	for _, key := range keys {
		p := in.home(key)
		if states[p] == nil {
			state, err := in.readParked(ctx, draw, p)
			if err != nil {
				return err
			}
			states[p] = state
		}
		if len(states[p].records[key]) == 0 {
			return notParked(key)
		}
	}
	return nil
}

func (o *options) discardCommand() *cobra.Command {
	var w wordOptions
	var force bool
	c := &cobra.Command{
		Use:   "discard ACCOUNT OFFSET --reason WHY",
		Short: "Drop one parked command for good, then redrive what is left",
		Long: "Drops the parked command of ACCOUNT at OFFSET of the command log: it is never decided, and stands among the dead\n" +
			"letters with who did it and why. Then what is left of the account is redriven. It cannot be taken back.",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			key := args[0]
			offset, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil || offset < 0 {
				return fmt.Errorf("%q is not an offset: `caudal dlq list` shows them as PARTITION/OFFSET", args[1])
			}
			return o.speak(cmd, func(ctx context.Context, in *installation) ([]outcome, error) {
				s, err := in.findParked(ctx, cmd.ErrOrStderr(), in.home(key), func(k string, at int64) bool { return k == key && at == offset })
				switch {
				case err != nil:
					return nil, err
				case s == nil:
					return nil, fmt.Errorf("no command of %s at offset %d is parked: `caudal dlq list` shows what is", key, offset)
				case s.Warning != "" && !force:
					return nil, fmt.Errorf("not discarded: %s; redrive it in place of that, or say --force", s.Warning)
				}
				did, err := in.say(ctx, cmd.ErrOrStderr(), key, w.control(engine.Discard, offset), w.patience)
				if err != nil {
					return nil, err
				}
				return []outcome{did}, nil
			})
		},
	}
	w.flags(c)
	c.Flags().BoolVar(&force, "force", false, "also where something stays unsettled for ever")
	return c
}

// speak runs a command that writes words, prints what came of them, and fails where something stays parked.
func (o *options) speak(cmd *cobra.Command, work func(context.Context, *installation) ([]outcome, error)) error {
	return o.run(cmd, func(ctx context.Context, in *installation) error {
		if !in.running {
			return fmt.Errorf("the installation is not up, so nobody would obey: start it with `caudal up --data %s` and say it again", o.data)
		}
		done, err := work(ctx, in)
		if len(done) == 0 && err != nil {
			return err
		}
		return errors.Join(o.report(cmd.OutOrStdout(), done), err, stillParked(done))
	})
}

func (o *options) report(w io.Writer, done []outcome) error {
	if o.output == "json" {
		if done == nil {
			done = []outcome{}
		}
		return writeJSON(w, done)
	}
	t := newTable(w)
	t.AppendHeader(table.Row{"account", "redriven", "discarded", "still parked"})
	for _, d := range done {
		t.AppendRow(table.Row{d.Account, d.Redriven, d.Discarded, d.Left})
	}
	t.Render()
	return nil
}

// stillParked says what goes on, and what to do about it.
func stillParked(done []outcome) error {
	var errs []error
	for _, d := range done {
		if d.Left == 0 {
			continue
		}
		at := place{d.Partition, d.ProblemAt}
		errs = append(errs, fmt.Errorf("%s is still parked, %d commands wait: offset %d: %s\nlook at it with: caudal dlq show %s\n"+
			"mend what it fails on and redrive, or drop it with: caudal dlq discard %s %d --reason WHY", d.Account, d.Left, d.ProblemAt, d.Problem, at, d.Account, d.ProblemAt))
	}
	return errors.Join(errs...)
}

// say writes a word on the command log and waits until the engine has obeyed it.
func (in *installation) say(ctx context.Context, draw io.Writer, key string, word engine.Control, patience time.Duration) (outcome, error) {
	r, err := word.Record(topics.Commands, in.home(key), []byte(key))
	if err != nil {
		return outcome{}, fmt.Errorf("--by or --reason does not do: %w", err)
	}
	client, err := in.client(kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond), kgo.RecordDeliveryTimeout(max(patience, time.Second)))
	if err != nil {
		return outcome{}, err
	}
	defer client.Close()
	ends, err := in.ends(ctx, client, topics.AccountsSide)
	if err != nil {
		return outcome{}, err
	}
	end, _ := ends.Lookup(topics.AccountsSide, r.Partition)
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topics.AccountsSide: {r.Partition: kgo.NewOffset().At(end.Offset)}})
	if err := client.ProduceSync(ctx, r).FirstErr(); err != nil {
		return outcome{}, fmt.Errorf("writing on %s; see with `caudal dlq list` whether it arrived before you say it again: %w", topics.Commands, err)
	}
	act, err := follow(ctx, client, draw, r, patience)
	return outcome{
		Account: key, Verb: string(word.Verb), By: word.By, Reason: word.Reason, Partition: r.Partition, Offset: r.Offset,
		Redriven: act.Redriven, Discarded: act.Discarded, Left: act.Left, Problem: act.Problem, ProblemAt: act.ProblemAt,
	}, err
}

// follow reads the engine's side table until the act of this word is done.
func follow(ctx context.Context, client *kgo.Client, draw io.Writer, word *kgo.Record, patience time.Duration) (act engine.Act, err error) {
	bar := progress.New(draw, "redriving "+string(word.Key), "commands", progress.Unknown)
	defer bar.Finish()
	for last := time.Now(); ; {
		wait, cancel := context.WithDeadline(ctx, last.Add(patience))
		fetches := client.PollFetches(wait)
		late := wait.Err() != nil
		cancel()
		if ctx.Err() != nil {
			return act, fmt.Errorf("not waiting any longer; the word stands at %s of %s and will be obeyed: %w", place{word.Partition, word.Offset}, word.Topic, ctx.Err())
		}
		if late {
			return act, fmt.Errorf("the worker has not obeyed within %v. The word stands at %s of %s and will be obeyed once: do not repeat it. "+
				"Is a worker running, and how far behind is it? `caudal dlq list` shows the lag", patience, place{word.Partition, word.Offset}, word.Topic)
		}
		if err := fetches.Err(); err != nil {
			return act, fmt.Errorf("following the worker: %w", err)
		}
		for _, r := range fetches.Records() {
			k, err := engine.DecodeSideKey(r.Key)
			if err != nil || k.Scope != engine.ScopePartition || k.ID != engine.ActID(word.Offset) || r.Value == nil ||
				k.Kind != engine.WaitingKind && k.Kind != engine.HandledKind {
				continue
			}
			if act, err = engine.DecodeAct(r.Value); err != nil {
				return act, fmt.Errorf("following the worker: %w", err)
			}
			last = time.Now()
			bar.Set(act.Redriven, act.Redriven+act.Left)
			if k.Kind == engine.HandledKind {
				return act, nil
			}
		}
	}
}
