package engine

import (
	"errors"
	"net/url"
	"testing"
)

func TestKeyword(t *testing.T) {
	for statement, want := range map[string]string{
		"select 1":                              "SELECT",
		" \n-- why\n/* not\nthis */ (SELECT 1)": "SELECT",
		"#!comment\nINSERT INTO t":              "INSERT",
		"WITH x AS (SELECT 1) SELECT x":         "WITH",
		"-- nothing":                            "",
		"/* open":                               "",
		"1 SELECT":                              "",
	} {
		if got := keyword(statement); got != want {
			t.Errorf("keyword(%q) = %q, want %q", statement, got, want)
		}
	}
}

func TestNewException(t *testing.T) {
	e := newException("Code: 60. DB::Exception: Code: 60. DB::Exception: Table x does not exist. (UNKNOWN_TABLE)")
	if e.Code != 60 || e.Text != "Code: 60. DB::Exception: Table x does not exist. (UNKNOWN_TABLE)" || e.status() != 404 {
		t.Errorf("%d %q %d", e.Code, e.Text, e.status())
	}
	if e := newException("out of luck"); e.Code != codeUnknown || e.status() != 500 {
		t.Errorf("%d %q", e.Code, e.Text)
	}
}

func FuzzCheckAnalyst(f *testing.F) {
	f.Add("SELECT 1")
	f.Add("WITH 1 AS x SELECT x INTO OUTFILE 'y'")
	f.Fuzz(func(t *testing.T, text string) {
		// Whatever surrounds it, an output into a file is refused.
		req := &request{statement: "SELECT " + text + " INTO OUTFILE 'y'"}
		req.keyword = keyword(req.statement)
		var e *Exception
		if err := checkAnalyst(req, url.Values{}); !errors.As(err, &e) || e.Code != codeReadonly {
			t.Errorf("%q: %v", req.statement, err)
		}
	})
}
