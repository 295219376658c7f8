package http

import (
	"bytes"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/valyala/fasthttp"

	"github.com/caudalpay/caudal/ingest/disputes"
	"github.com/caudalpay/caudal/ingest/issuing"
	"github.com/caudalpay/caudal/processors/ledger"
	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/openapi"
	paymentsv1 "github.com/caudalpay/caudal/schemas/payments/v1"
)

type apiSchema struct {
	Enum                 []string             `json:"enum"`
	Pattern              string               `json:"pattern"`
	Ref                  string               `json:"$ref"`
	Type                 string               `json:"type"`
	Properties           map[string]apiSchema `json:"properties"`
	Required             []string             `json:"required"`
	AdditionalProperties *bool                `json:"additionalProperties"`
	Items                *apiSchema           `json:"items"`
}

type apiDocument struct {
	OpenAPI string `json:"openapi"`
	Paths   map[string]map[string]struct {
		Security   *[]any `json:"security"`
		Parameters []struct {
			Schema apiSchema `json:"schema"`
		} `json:"parameters"`
		RequestBody struct {
			Content map[string]struct {
				Examples map[string]struct {
					Value jsontext.Value `json:"value"`
				} `json:"examples"`
			} `json:"content"`
		} `json:"requestBody"`
		Responses map[string]struct {
			Ref string `json:"$ref"`
		} `json:"responses"`
	} `json:"paths"`
	Components struct {
		Schemas   map[string]apiSchema `json:"schemas"`
		Responses map[string]any       `json:"responses"`
	} `json:"components"`
}

func readDocument(t *testing.T) apiDocument {
	t.Helper()
	var doc apiDocument
	if err := json.Unmarshal([]byte(openapi.Document()), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("version %s", doc.OpenAPI)
	}
	return doc
}

// Invariant: the document describes every route, and nothing else.
func TestDocumentHasEveryRoute(t *testing.T) {
	doc := readDocument(t)
	described := 0
	for _, methods := range doc.Paths {
		described += len(methods)
	}
	routes := (&Server{}).routes()
	for _, r := range routes {
		op, ok := doc.Paths[r.template][strings.ToLower(r.method)]
		if !ok {
			t.Errorf("%s %s is not described", r.method, r.template)
			continue
		}
		if open := op.Security != nil && len(*op.Security) == 0; open != (r.scope == "") {
			t.Errorf("%s %s: open to all: %v, described as %v", r.method, r.template, r.scope == "", open)
		}
	}
	if described != len(routes) {
		t.Errorf("%d operations are described, %d exist", described, len(routes))
	}
}

// Invariant: each view has the fields its schema has, and always those that the schema requires.
func TestDocumentHasEveryField(t *testing.T) {
	doc := readDocument(t)
	for name, v := range map[string]any{
		"PaymentAnswer": PaymentAnswer{}, "PendingAnswer": PendingAnswer{}, "RequestAnswer": RequestAnswer{}, "OpenedAnswer": OpenedAnswer{},
		"BatchAnswer": BatchAnswer{}, "BatchItemAnswer": BatchItemAnswer{}, "PaymentView": PaymentView{}, "AccountView": AccountView{},
		"BalancesView": BalancesView{}, "BalanceView": BalanceView{}, "StatementPage": StatementPage{}, "StatementLine": StatementLine{}, "TimelinePage": TimelinePage{}, "TimelineEvent": TimelineEvent{},
		"Violation": Violation{}, "Problem": Problem{}, "DeclinedProblem": DeclinedProblem{}, "FX": FXView{}, "Counterparty": CounterpartyView{},
		"QuoteView": QuoteView{}, "DisputeView": DisputeView{}, "EvidenceFile": EvidenceFile{}, "DisputesPage": DisputesPage{},
		"HealthView": HealthView{}, "ReceivedView": ReceivedView{}, "ReadyView": ReadyView{}, "CheckView": CheckView{}, "ErrorView": ErrorView{},
		"CardView": CardView{}, "ClearingAnswer": ClearingAnswer{},
	} {
		schema, ok := doc.Components.Schemas[name]
		if !ok {
			t.Errorf("no schema %s", name)
			continue
		}
		fields := map[string]bool{}
		jsonFields(reflect.TypeOf(v), fields)
		for field, always := range fields {
			if _, ok := schema.Properties[field]; !ok {
				t.Errorf("%s.%s is not described", name, field)
			}
			if always != slices.Contains(schema.Required, field) {
				t.Errorf("%s.%s: always there: %v, described otherwise", name, field, always)
			}
		}
		if len(fields) != len(schema.Properties) {
			t.Errorf("%s has %d fields, %d are described", name, len(fields), len(schema.Properties))
		}
	}
}

// jsonFields lists the members of a struct, and whether each is always there.
func jsonFields(t reflect.Type, into map[string]bool) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case options == "inline":
			jsonFields(f.Type, into)
		case name != "-":
			into[name] = options != "omitzero"
		}
	}
}

// Invariant: a body may have exactly the members its schema has, and needs those the schema requires.
func TestDocumentHasEveryMemberOfABody(t *testing.T) {
	doc := readDocument(t)
	pay := func(kind payment.Kind) func(*decoder) error {
		return func(d *decoder) error { return d.payment(&paymentRequest{}, kind) }
	}
	method := func(d *decoder) error { return d.method(&paymentRequest{}) }
	bodies := map[string]struct {
		decode func(*decoder) error
		prefix string // what tells the forms of a body apart: without it the rest cannot be judged
	}{
		"PayIn": {pay(payment.KindPayIn), ""}, "Payout": {pay(payment.KindPayOut), ""},
		"Transfer": {pay(payment.KindTransfer), ""}, "Refund": {pay(payment.KindRefund), ""},
		"Capture": {pay(payment.KindCapture), ""}, "Increment": {pay(payment.KindIncrement), ""},
		"BatchPayIn": {pay(payment.KindUnknown), "kind=payin"}, "BatchPayout": {pay(payment.KindUnknown), "kind=payout"},
		"BatchTransfer": {pay(payment.KindUnknown), "kind=transfer"}, "BatchRefund": {pay(payment.KindUnknown), "kind=refund"},
		"BatchCapture": {pay(payment.KindUnknown), "kind=capture"}, "BatchVoid": {pay(payment.KindUnknown), "kind=void"},
		"BatchIncrement":       {pay(payment.KindUnknown), "kind=increment"},
		"OpenAccount":          {func(d *decoder) error { return d.account(&accountRequest{}) }, ""},
		"IssueCard":            {func(d *decoder) error { return d.card(&cardRequest{}) }, ""},
		"KYCLevel":             {func(d *decoder) error { return d.kycLevel(new(int64)) }, ""},
		"NoMembers":            {(*decoder).nothing, ""},
		"Quote":                {pay(payment.KindFXQuote), ""},
		"Clearing":             {func(d *decoder) error { return d.clearing(&clearingRequest{}) }, ""},
		"ClearedAuthorization": {func(d *decoder) error { return d.authorization(&issuing.Message{}) }, ""},
		"Dispute":              {func(d *decoder) error { return d.dispute(&disputes.Told{}) }, ""},
		"Evidence":             {func(d *decoder) error { return d.evidence(&evidenceRequest{}) }, ""},
		"EvidenceFile":         {func(d *decoder) error { return d.file(&paymentsv1.EvidenceFile{}) }, ""},
		"Counterparty":         {func(d *decoder) error { return d.counterparty(&counterparty{}) }, ""},
		"MethodAtOnce":         {method, "type=book"}, "MethodCard": {method, "type=card"}, "MethodBank": {method, "type=bank"},
	}
	all := map[string]bool{"nonsense": true}
	for name := range bodies {
		for member := range doc.Components.Schemas[name].Properties {
			all[member] = true
		}
	}
	for name, b := range bodies {
		schema := doc.Components.Schemas[name]
		if schema.AdditionalProperties == nil || *schema.AdditionalProperties {
			t.Errorf("%s is not closed", name)
		}
		given, value, _ := strings.Cut(b.prefix, "=")
		violated := func(members ...string) map[string]string {
			if b.prefix != "" {
				members = append(members, strconv.Quote(given)+":"+strconv.Quote(value))
			}
			d := newDecoders().get([]byte("{" + strings.Join(members, ",") + "}"))
			if err := b.decode(d); err != nil {
				t.Fatal(err)
			}
			codes := map[string]string{}
			for _, v := range d.violations {
				codes[strings.TrimPrefix(*v.Pointer, "/")] = v.Code
			}
			return codes
		}
		empty := violated()
		for member := range all {
			required := slices.Contains(schema.Required, member) && member != given
			if required != (empty[member] == codeRequired) {
				t.Errorf("%s.%s: required: %v, described as %v", name, member, empty[member] == codeRequired, required)
			}
			if member == given {
				continue
			}
			_, described := schema.Properties[member]
			if code := violated(strconv.Quote(member) + ":null")[member]; described == (code == codeUnknownField) {
				t.Errorf("%s.%s: described: %v, the decoder says %q", name, member, described, code)
			}
		}
	}
}

// Invariant: the document has the words of the domain: each kind, status and id that an answer may tell.
func TestDocumentHasEveryWord(t *testing.T) {
	doc := readDocument(t)
	var kinds, asked, statuses, first, journals []string
	for n := range 256 {
		if k := payment.Kind(n); k.Prefix() != "" {
			kinds = append(kinds, k.String())
			id := string(payment.IDFrom(k, "acc_aaaaaaaaaaaaaaaaaaaa", "shop", "k"))
			schemas := []string{"PaymentView", "TimelinePage", "StatementLine"}
			for _, path := range []string{"/transactions/{id}", "/payments/{id}/timeline"} {
				if pattern := doc.Paths[path]["get"].Parameters[0].Schema.Pattern; !regexp.MustCompile(pattern).MatchString(id) {
					t.Errorf("%s is not asked for at %s", id, path)
				}
			}
			if related := slices.Contains([]payment.Kind{payment.KindPayIn, payment.KindPayOut, payment.KindTransfer, payment.KindAuthorization}, k); // of operations, quotes and clearings
			related != regexp.MustCompile(doc.Components.Schemas["PaymentView"].Properties["related_payment_id"].Pattern).MatchString(id) {
				t.Errorf("PaymentView.related_payment_id is %s: %v", id, related)
			}
			if payKind(k.String()) == k {
				asked = append(asked, k.String())
				schemas = append(schemas, "PaymentAnswer", "PendingAnswer")
			}
			for _, schema := range schemas {
				if pattern := doc.Components.Schemas[schema].Properties["payment_id"].Pattern; !regexp.MustCompile(pattern).MatchString(id) {
					t.Errorf("%s.payment_id is not %s", schema, id)
				}
			}
		}
		switch j := ledger.JournalKind(n); j {
		case ledger.JournalHold, ledger.JournalRelease: // pending lines, which a statement leaves out
		case ledger.JournalLate: // between accounts of the house
		default:
			if j.String() != ledger.JournalKind(255).String() {
				journals = append(journals, j.String())
			}
		}
		if _, ok := paymentsv1.PaymentStatus_name[int32(n)]; ok && n > 0 {
			statuses = append(statuses, payment.Status(n).String())
		}
	}
	for _, f := range []payment.Family{payment.FamilyPayIn, payment.FamilyPayOut, payment.FamilyTransfer, payment.FamilyOperation} {
		for _, e := range []payment.Event{payment.EventSettled, payment.EventOrdered, payment.EventReviewed, payment.EventDeclined} {
			if step := payment.Next(f, payment.StatusNone, e); step.Effect == payment.Move {
				first = append(first, step.To.String())
			}
		}
	}
	for place, want := range map[string][]string{
		"PaymentAnswer/kind": asked, "PendingAnswer/kind": asked, "PaymentView/kind": kinds, "PaymentView/status": statuses, "PaymentAnswer/status": first,
		"StatementLine/journal": journals,
	} {
		schema, member, _ := strings.Cut(place, "/")
		got := slices.Sorted(slices.Values(doc.Components.Schemas[schema].Properties[member].Enum))
		slices.Sort(want)
		if want = slices.Compact(want); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", place, got, want)
		}
	}
}

// Invariant: an example of the document is taken as it stands.
func TestExamplesAreTaken(t *testing.T) {
	doc := readDocument(t)
	s, secret := benchServer(t)
	s.ports.Now = func() time.Time { return time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC) } // clearings name days near to theirs
	sent := 0
	for _, r := range s.routes() {
		if r.hook { // what processors send is read in ingest/webhooks, and tested there
			continue
		}
		for media, content := range doc.Paths[r.template][strings.ToLower(r.method)].RequestBody.Content {
			for name, example := range content.Examples {
				var ctx fasthttp.RequestCtx
				var req fasthttp.Request
				req.Header.SetMethod(r.method)
				id := hashedID
				if strings.HasPrefix(r.template, "/disputes/") {
					id = payment.KindDispute.Prefix() + hashedID[3:]
				}
				req.SetRequestURI(strings.Replace(r.template, parameterSegment, id, 1))
				req.Header.SetContentType(media)
				req.Header.Set("Authorization", "Bearer "+secret)
				req.Header.Set("Idempotency-Key", "example-"+strconv.Itoa(sent))
				req.Header.Set("Prefer", "respond-async")
				req.SetBody(example.Value)
				ctx.Init(&req, nil, nil)
				s.handle(&ctx)
				body := ctx.Response.Body()
				if ctx.Response.StatusCode() != fasthttp.StatusAccepted || bytes.Contains(body, []byte("violations")) {
					t.Errorf("%s %s: %d %s", r.template, name, ctx.Response.StatusCode(), body)
				}
				sent++
			}
		}
	}
	if sent < 15 {
		t.Errorf("%d examples", sent)
	}
}

func TestDocumentRefersToWhatItHas(t *testing.T) {
	doc := readDocument(t)
	for _, ref := range strings.Split(openapi.Document(), `"$ref": "#/components/`)[1:] {
		ref = ref[:strings.IndexByte(ref, '"')]
		kind, name, _ := strings.Cut(ref, "/")
		_, schema := doc.Components.Schemas[name]
		_, response := doc.Components.Responses[name]
		if kind == "schemas" && !schema || kind == "responses" && !response {
			t.Errorf("nothing at %s", ref)
		}
	}
}
