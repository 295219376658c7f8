package http

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/caudalpay/caudal/processors/payment"
	"github.com/caudalpay/caudal/schemas/openapi"
)

type apiSchema struct {
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
		Security  *[]any `json:"security"`
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
		"BalancesView": BalancesView{}, "BalanceView": BalanceView{}, "StatementPage": StatementPage{}, "StatementLine": StatementLine{},
		"Violation": Violation{}, "Problem": Problem{}, "DeclinedProblem": DeclinedProblem{}, "FX": FXView{}, "Counterparty": CounterpartyView{},
		"HealthView": HealthView{}, "ReadyView": ReadyView{}, "CheckView": CheckView{}, "ErrorView": ErrorView{},
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
	bodies := map[string]struct {
		decode func(*decoder) error
		prefix string // member that a batch item needs before the rest can be judged
	}{
		"PayIn": {pay(payment.KindPayIn), ""}, "Payout": {pay(payment.KindPayOut), ""},
		"Transfer": {pay(payment.KindTransfer), ""}, "Refund": {pay(payment.KindRefund), ""},
		"BatchPayIn": {pay(payment.KindUnknown), "payin"}, "BatchPayout": {pay(payment.KindUnknown), "payout"},
		"BatchTransfer": {pay(payment.KindUnknown), "transfer"}, "BatchRefund": {pay(payment.KindUnknown), "refund"},
		"OpenAccount":  {func(d *decoder) error { return d.account(&accountRequest{}) }, ""},
		"KYCLevel":     {func(d *decoder) error { return d.kycLevel(new(int64)) }, ""},
		"NoMembers":    {(*decoder).nothing, ""},
		"Counterparty": {func(d *decoder) error { return d.counterparty(&counterparty{}) }, ""},
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
		violated := func(members ...string) map[string]string {
			if b.prefix != "" {
				members = append(members, `"kind":"`+b.prefix+`"`)
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
			required := slices.Contains(schema.Required, member) && (b.prefix == "" || member != "kind")
			if required != (empty[member] == codeRequired) {
				t.Errorf("%s.%s: required: %v, described as %v", name, member, empty[member] == codeRequired, required)
			}
			if b.prefix != "" && member == "kind" {
				continue
			}
			_, described := schema.Properties[member]
			if code := violated(strconv.Quote(member) + ":null")[member]; described == (code == codeUnknownField) {
				t.Errorf("%s.%s: described: %v, the decoder says %q", name, member, described, code)
			}
		}
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
