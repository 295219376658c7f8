package audittest

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/caudalpay/caudal/processors/payment"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
	railsv1 "github.com/caudalpay/caudal/schemas/rails/v1"
)

// railAccount is an account whose payments rails execute, with what its play needs to remember.
type railAccount struct {
	id, policy string
	payments   []string
	charged    []*railsv1.Order // of money from a card
	byCard     []string         // payments that a card's rail was asked for
	answers    []*paymentsv1.Command
	quotes     []*paymentsv1.Instruction // of which a payment may use one
	disputes   []*paymentsv1.Command
	said       []*paymentsv1.Command // by the merchant, of disputes
	messages   []*paymentsv1.Command // told of disputes under an id of their own
}

// PlayRailsAtRandom lets accounts of two policies pay in by card and out by bank, capture, give up, increment and refund;
// rails that doubt, lie, repeat themselves and come late answer in any order.
func (h *House) PlayRailsAtRandom(n int) {
	var all []*railAccount
	for i, policy := range []string{"rail", "loose", "loose"} {
		a := &railAccount{id: string(payment.AccountIDFrom(tenant, merchant, fmt.Sprint("rails-", i))), policy: policy}
		all = append(all, a)
		name := fmt.Sprint("rails-", i)
		h.ask(string(payment.CustomerKeyFrom(tenant, merchant, name)), &paymentsv1.Command{
			Kind: paymentsv1.CommandKind_COMMAND_KIND_OPEN_ACCOUNT, Tenant: tenant, Merchant: merchant, Customer: name, Account: a.id,
			CommandId: "cmd_open_" + name, BodyHash: h.hash(name), Pins: a.pins(),
			Body: &paymentsv1.Command_OpenAccount{OpenAccount: &paymentsv1.OpenAccount{
				ExternalId: name, Kind: paymentsv1.AccountKind_ACCOUNT_KIND_MERCHANT, Currencies: []string{"BRL", "USD"}, KycLevel: 2, Policy: policy,
				OverdraftLimitMinor: 100_000,
			}},
		})
	}
	h.Drain()
	seen := [Partitions]int{}
	for range n {
		h.now = h.now.Add(time.Duration(h.rng.IntN(60_000)) * time.Millisecond)
		if h.rng.IntN(60) == 0 {
			h.now = h.now.Add(time.Duration(h.rng.IntN(5)) * 40 * time.Minute)
			h.Tick()
		}
		h.railStep(all[h.rng.IntN(len(all))])
		if h.rng.IntN(3) > 0 {
			h.Drain()
		}
		h.hearOrders(all, &seen)
	}
	h.Drain()
}

func (a *railAccount) pins() *paymentsv1.Pins {
	p := &paymentsv1.Pins{Policy: a.policy + "@1", Fees: "fees@1", Rates: "fx@1"}
	if a.policy == "loose" {
		p.Rules = "rules@1"
	}
	return p
}

// pinned are an account's documents, with either sheet of rates.
func (h *House) pinned(a *railAccount) *paymentsv1.Pins {
	p := a.pins()
	if h.rng.IntN(3) == 0 {
		p.Rates = "fx@2"
	}
	return p
}

// hearOrders prepares what rails say of the orders that are new.
func (h *House) hearOrders(all []*railAccount, seen *[Partitions]int) {
	for p := range h.Orders {
		for ; seen[p] < len(h.Orders[p]); seen[p]++ {
			o := &railsv1.Order{}
			if err := proto.Unmarshal(h.Orders[p][seen[p]].Value, o); err != nil {
				h.t.Fatal(err)
			}
			for _, a := range all {
				if a.id == o.GetAccount() {
					h.hear(a, o)
				}
			}
		}
	}
}

func (h *House) hear(a *railAccount, o *railsv1.Order) {
	kind := o.GetKind()
	if kind == railsv1.OrderKind_ORDER_KIND_COLLECT || kind == railsv1.OrderKind_ORDER_KIND_CAPTURE {
		a.charged = append(a.charged, o)
	}
	if kind == railsv1.OrderKind_ORDER_KIND_COLLECT || kind == railsv1.OrderKind_ORDER_KIND_AUTHORIZE {
		a.byCard = append(a.byCard, o.GetPaymentId())
	}
	a.answers = append(a.answers, h.answersTo(o)...)
}

// answersTo is what a rail says of an order, by and by: mostly the truth, which it may take back.
func (h *House) answersTo(o *railsv1.Order) []*paymentsv1.Command {
	results := []paymentsv1.RailResult{
		paymentsv1.RailResult_RAIL_RESULT_CONFIRMED, paymentsv1.RailResult_RAIL_RESULT_CONFIRMED, paymentsv1.RailResult_RAIL_RESULT_CONFIRMED,
		paymentsv1.RailResult_RAIL_RESULT_CONFIRMED, paymentsv1.RailResult_RAIL_RESULT_REFUSED, paymentsv1.RailResult_RAIL_RESULT_UNKNOWN,
		paymentsv1.RailResult_RAIL_RESULT_ACCEPTED, paymentsv1.RailResult_RAIL_RESULT_SENT, paymentsv1.RailResult_RAIL_RESULT_RETURNED,
	}
	var out []*paymentsv1.Command
	for i := range 1 + h.rng.IntN(4) {
		order := o.GetOrderId()
		if h.rng.IntN(40) == 0 {
			order = o.GetPaymentId() + ".collect" // perhaps never given
		}
		a := &paymentsv1.RailAnswer{
			OrderId: order, Result: results[h.rng.IntN(len(results))], Code: fmt.Sprint(h.rng.IntN(100)),
			Connector: "sim", Reference: "ref-" + fmt.Sprint(h.rng.IntN(1000)), Closed: h.rng.IntN(6) == 0,
			ReportedAtUs: h.rng.Int64N(1_000_000), // later answers tell earlier times too
		}
		if h.rng.IntN(3) == 0 { // whatever the answer
			a.Tid = fmt.Sprint("tid-", h.rng.IntN(1000))
		}
		switch h.rng.IntN(6) {
		case 0:
			a.AmountMinor = o.GetAmountMinor() + 1
		case 1, 2:
		default:
			a.AmountMinor = o.GetAmountMinor()
		}
		out = append(out, &paymentsv1.Command{
			Kind: paymentsv1.CommandKind_COMMAND_KIND_RAIL_ANSWER, Tenant: o.GetTenant(), Merchant: o.GetMerchant(), Account: o.GetAccount(),
			PaymentId: o.GetPaymentId(), CommandId: fmt.Sprint("cmd_answer_", i, "_", order), Body: &paymentsv1.Command_RailAnswer{RailAnswer: a},
		})
	}
	return out
}

// railStep is one command of an account.
func (h *House) railStep(a *railAccount) {
	h.serial++
	if len(a.answers) > 0 && h.rng.IntN(2) == 0 {
		i := h.rng.IntN(len(a.answers))
		cmd := a.answers[i]
		if h.rng.IntN(4) > 0 { // else it comes again
			a.answers = append(a.answers[:i:i], a.answers[i+1:]...)
		}
		cmd = proto.CloneOf(cmd)
		h.ask(a.id, cmd)
		return
	}
	if h.rng.IntN(4) == 0 {
		h.disputeStep(a)
		return
	}
	owner, key := payment.AccountID(a.id), fmt.Sprint("rail-key-", h.serial)
	cmd := &paymentsv1.Command{Tenant: tenant, Merchant: merchant, Account: a.id, BodyHash: h.hash("rails", h.serial), Pins: h.pinned(a)}
	kind := []payment.Kind{
		payment.KindPayIn, payment.KindPayIn, payment.KindPayOut, payment.KindCapture, payment.KindCapture, payment.KindCapture,
		payment.KindVoid, payment.KindIncrement, payment.KindRefund, payment.KindRefund, payment.KindApprove, payment.KindDecline,
		payment.KindTransfer,
	}[h.rng.IntN(13)]
	if len(a.payments) == 0 {
		kind = payment.KindPayIn
	}
	cmd.Kind = paymentsv1.CommandKind(kind)
	cmd.CommandId = string(payment.IDFrom(kind, owner, merchant, key))
	if kind == payment.KindPayIn || kind == payment.KindPayOut || kind == payment.KindTransfer {
		cmd.PaymentId = cmd.GetCommandId()
		a.payments = append(a.payments, cmd.GetPaymentId())
	} else {
		of := a.payments
		if len(a.byCard) > 0 && h.rng.IntN(4) > 0 { // most operations on others are declined
			of = a.byCard
		}
		cmd.PaymentId = of[max(0, len(of)-1-h.rng.IntN(6))]
	}
	h.railBody(kind, cmd, key)
	if in := cmd.GetInstruction(); in != nil {
		h.atQuote(a, in)
	}
	h.ask(a.id, cmd)
}

func (h *House) railBody(kind payment.Kind, cmd *paymentsv1.Command, key string) {
	part := int64(h.rng.IntN(4)) * 1_000
	switch kind {
	case payment.KindPayIn, payment.KindPayOut, payment.KindTransfer:
		in := &paymentsv1.Instruction{AmountMinor: 1 + h.rng.Int64N(8_000), Currency: "BRL", Method: "bank"}
		if kind == payment.KindTransfer {
			in.Method, in.ToAccount = "book", h.Accounts[h.rng.IntN(len(h.Accounts))]
		}
		if kind == payment.KindPayIn {
			in.Method, in.Instrument = []string{"card", "card", "card", "book"}[h.rng.IntN(4)], "tok_1"
			in.Card = &paymentsv1.Card{Capture: paymentsv1.CaptureMethod(h.rng.IntN(3)), Brand: "visa", Installments: uint32(h.rng.IntN(4))} //nolint:gosec // small
		}
		if h.rng.IntN(3) == 0 {
			in.TargetCurrency = "USD"
		}
		if h.rng.IntN(8) == 0 {
			in.Counterparty = &paymentsv1.Counterparty{Country: "BR", Digest: h.hash("party", h.rng.IntN(50))}
			in.AmountMinor += 70_000
		}
		cmd.Body = &paymentsv1.Command_Instruction{Instruction: in}
	case payment.KindCapture:
		cmd.Body = &paymentsv1.Command_Capture{Capture: &paymentsv1.CaptureInstruction{AmountMinor: part, Final: h.rng.IntN(4) == 0}}
	case payment.KindVoid:
		cmd.Body = &paymentsv1.Command_Void{Void: &paymentsv1.VoidInstruction{}}
	case payment.KindIncrement:
		cmd.Body = &paymentsv1.Command_Increment{Increment: &paymentsv1.IncrementInstruction{AmountMinor: part + 1}}
	case payment.KindRefund:
		cmd.Body = &paymentsv1.Command_Refund{Refund: &paymentsv1.RefundInstruction{AmountMinor: part}}
	default:
		cmd.CommandId = "cmd_" + key
		cmd.Body = &paymentsv1.Command_Verdict{Verdict: &paymentsv1.Verdict{Actor: "op"}}
	}
}
