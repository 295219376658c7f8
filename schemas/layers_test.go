package schemas_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/caudalpay/caudal/"

// listed is what the go command says of a package.
type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	// -e: a package that does not build is for the compiler to tell.
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = ".."
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing packages: %v\n%s", err, stderr.String())
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// railsim is the outside world: what it shares with the system would hide the same mistake on both sides.
const railsim = "cmd/railsim"

// layer is the first folder of an import path of this module, empty outside of it. The simulator is one of its own.
func layer(path string) string {
	inside, ok := strings.CutPrefix(path, module)
	if !ok {
		return ""
	}
	if inside == railsim || strings.HasPrefix(inside, railsim+"/") {
		return railsim
	}
	first, _, _ := strings.Cut(inside, "/")
	return first
}

func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// below says which layers a layer may import besides itself: processors <- schemas <- streams | ingest | sinks <- cmd, and
// schemas <- cmd/railsim.
func below(layer string) ([]string, bool) {
	switch layer {
	case "processors":
		return nil, true
	case "schemas":
		return []string{"processors"}, true
	case "streams", "ingest", "sinks", railsim:
		return []string{"processors", "schemas"}, true
	case "cmd":
		return []string{"processors", "schemas", "streams", "ingest", "sinks"}, true
	default:
		return nil, false
	}
}

// forbidden says why a package of one layer may not import a path, empty where it may.
func forbidden(from, path string, test bool) string {
	to := layer(path)
	allowed, known := below(from)
	switch {
	case !known:
		return "is in no layer"
	case to != "" && to != from && !slices.Contains(allowed, to) && (!test || !testException(from, path)):
		return "is not below " + from
	case from == "processors" && to == "" && !standard(path) && (!test || !slices.Contains(testTools(), path)):
		return "is not of the standard library"
	case from != "streams" && (path == "github.com/lovoo/goka" || strings.HasPrefix(path, "github.com/lovoo/goka/")):
		return "is for streams only"
	default:
		return ""
	}
}

func testTools() []string { return []string{"github.com/cockroachdb/datadriven", "pgregory.net/rapid"} }

// testException lets the tests of the outer layers start the embedded engines and the simulator, which live in cmd.
func testException(from, path string) bool {
	return from != "processors" && from != "schemas" && from != railsim &&
		(strings.HasPrefix(path, module+"cmd/caudal/embedded") || layer(path) == railsim)
}

// Invariant: processors <- schemas <- streams | ingest | sinks <- cmd; schemas <- cmd/railsim; and only streams knows goka.
func TestLayers(t *testing.T) {
	seen := map[string]int{}
	for _, p := range packages(t) {
		from := layer(p.ImportPath)
		seen[from]++
		for _, path := range p.Imports {
			if why := forbidden(from, path, false); why != "" {
				t.Errorf("%s imports %s, which %s", p.ImportPath, path, why)
			}
		}
		for _, path := range slices.Concat(p.TestImports, p.XTestImports) {
			if why := forbidden(from, path, true); why != "" {
				t.Errorf("a test of %s imports %s, which %s", p.ImportPath, path, why)
			}
		}
	}
	for _, l := range []string{"processors", "schemas", "streams", "ingest", "sinks", "cmd", railsim} {
		if seen[l] == 0 {
			t.Errorf("no package in %s", l)
		}
	}
}

// The rule itself, so that a mistake in it does not pass everything.
func TestForbiddenImports(t *testing.T) {
	for _, c := range []struct {
		from, path string
		test, ok   bool
	}{
		{from: "processors", path: "strings", ok: true},
		{from: "processors", path: module + "processors/money", ok: true},
		{from: "processors", path: module + "schemas/topics"},
		{from: "processors", path: "pgregory.net/rapid"},
		{from: "processors", path: "pgregory.net/rapid", test: true, ok: true},
		{from: "processors", path: "github.com/shopspring/decimal", test: true},
		{from: "processors", path: module + "cmd/caudal/embedded/broker", test: true},
		{from: "schemas", path: module + "processors/money", ok: true},
		{from: "schemas", path: module + "streams/engine"},
		{from: "schemas", path: "google.golang.org/protobuf/proto", ok: true},
		{from: "streams", path: "github.com/lovoo/goka", ok: true},
		{from: "streams", path: module + "sinks/postgres"},
		{from: "streams", path: module + "ingest/http", test: true},
		{from: "ingest", path: module + "streams/engine"},
		{from: "ingest", path: "github.com/lovoo/goka/storage"},
		{from: "sinks", path: module + "ingest/http"},
		{from: "sinks", path: module + "cmd/caudal/embedded/postgres"},
		{from: "sinks", path: module + "cmd/caudal/embedded/postgres", test: true, ok: true},
		{from: "sinks", path: module + "cmd/caudal/up", test: true},
		{from: "cmd", path: module + "streams/engine", ok: true},
		{from: "cmd", path: module + "cmd/railsim/server"},
		{from: "cmd", path: module + "cmd/railsim/server", test: true, ok: true},
		{from: "sinks", path: module + "cmd/railsim/server"},
		{from: "sinks", path: module + "cmd/railsim/server", test: true, ok: true},
		{from: "schemas", path: module + "cmd/railsim/server", test: true},
		{from: railsim, path: module + "cmd/railsim/books", ok: true},
		{from: railsim, path: module + "processors/money", ok: true},
		{from: railsim, path: module + "schemas/topics", ok: true},
		{from: railsim, path: module + "sinks/webhooks", test: true},
		{from: railsim, path: module + "ingest/http"},
		{from: railsim, path: module + "streams/engine"},
		{from: railsim, path: module + "cmd/caudal/embedded/broker", test: true},
		{from: "tools", path: "strings"},
	} {
		if why := forbidden(c.from, c.path, c.test); (why == "") != c.ok {
			t.Errorf("%s importing %s (test %t): %q", c.from, c.path, c.test, why)
		}
	}
}

// Invariant: a decision is a function of its arguments. No clock, randomness, float, I/O, goroutine or changing
// package-level variable stands in processors.
func TestProcessorsArePure(t *testing.T) {
	files := map[string][]*ast.File{} // by folder
	set := token.NewFileSet()
	err := filepath.WalkDir("../processors", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("parsing %s: %w", path, err)
		}
		files[filepath.Dir(path)] = append(files[filepath.Dir(path)], f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no processors")
	}
	for _, pkg := range files {
		for _, f := range impurities(pkg) {
			t.Errorf("%s: %s", set.Position(f.at), f.what)
		}
	}
}

type finding struct {
	at   token.Pos
	what string
}

func impurities(pkg []*ast.File) []finding {
	var found []finding
	report := func(at token.Pos, format string, args ...any) {
		found = append(found, finding{at, fmt.Sprintf(format, args...)})
	}
	variables := packageVariables(pkg, report)
	for _, f := range pkg {
		for _, i := range f.Imports {
			if path := strings.Trim(i.Path.Value, `"`); !strings.HasPrefix(path, module+"processors/") && !harmless(path) {
				report(i.Pos(), "imports %s", path)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && ambient(x.Name, n.Sel.Name) {
					report(n.Pos(), "uses %s.%s", x.Name, n.Sel.Name)
				}
			case *ast.Ident:
				if slices.Contains([]string{"float32", "float64", "complex64", "complex128"}, n.Name) {
					report(n.Pos(), "uses %s", n.Name)
				}
			case *ast.BasicLit:
				if n.Kind == token.FLOAT || n.Kind == token.IMAG {
					report(n.Pos(), "uses the floating-point number %s", n.Value)
				}
			case *ast.GoStmt:
				report(n.Pos(), "starts a goroutine")
			case *ast.AssignStmt:
				for _, left := range n.Lhs {
					if name := root(left); n.Tok != token.DEFINE && variables[name] {
						report(n.Pos(), "changes %s", name)
					}
				}
			case *ast.IncDecStmt:
				if name := root(n.X); variables[name] {
					report(n.Pos(), "changes %s", name)
				}
			case *ast.UnaryExpr:
				if name := root(n.X); n.Op == token.AND && variables[name] {
					report(n.Pos(), "takes the address of %s", name)
				}
			}
			return true
		})
	}
	return found
}

// packageVariables are the names declared at package level; each must have a value to keep.
func packageVariables(pkg []*ast.File, report func(token.Pos, string, ...any)) map[string]bool {
	names := map[string]bool{}
	for _, f := range pkg {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				v, ok := s.(*ast.ValueSpec)
				if !ok {
					continue
				}
				for _, n := range v.Names {
					if n.Name == "_" {
						continue
					}
					names[n.Name] = true
					if len(v.Values) == 0 {
						report(n.Pos(), "declares %s without a value", n.Name)
					}
				}
			}
		}
	}
	return names
}

// root is the name at the bottom of x, x.f, x[i], *x.
func root(e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x.Name
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return ""
		}
	}
}

// harmless packages of the standard library reach nothing outside their arguments, but for the functions in ambient.
func harmless(path string) bool {
	switch path {
	case "bytes", "cmp", "crypto/sha256", "encoding/base32", "encoding/binary", "encoding/hex", "errors", "fmt", "iter",
		"maps", "math", "math/bits", "slices", "sort", "strconv", "strings", "time", "unicode", "unicode/utf8":
		return true
	default:
		return false
	}
}

// ambient functions read or write what is outside, or compute in floats.
func ambient(pkg, name string) bool {
	switch pkg {
	case "time":
		return slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Local", "LoadLocation"}, name)
	case "fmt":
		return strings.HasPrefix(name, "Print") || strings.HasPrefix(name, "Scan")
	case "strconv":
		return strings.Contains(name, "Float")
	default:
		return false
	}
}

// The rule itself: each of these is found.
func TestImpurities(t *testing.T) {
	for _, source := range []string{
		`import "os"`,
		`import "math/rand"`,
		`import "github.com/caudalpay/caudal/schemas/topics"`,
		`import "time"; func f() int64 { return time.Now().Unix() }`,
		`func f(a float64) {}`,
		`func f() any { return 1.5 }`,
		`func f() { go f() }`,
		`var n int`,
		`var n = 1; func f() { n = 2 }`,
		`var n = 1; func f() { n++ }`,
		`var n = []int{1}; func f() { n[0] = 2 }`,
		`var n = struct{ a int }{}; func f() { n.a += 2 }`,
		`var n = 1; func f() *int { return &n }`,
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "", "package p; "+source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if len(impurities([]*ast.File{f})) != 1 {
			t.Errorf("%s: found %v", source, impurities([]*ast.File{f}))
		}
	}
	f, err := parser.ParseFile(token.NewFileSet(), "", `package p; import "errors"; var Err = errors.New("x"); func f() error { n := 1; n++; return Err }`, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	if found := impurities([]*ast.File{f}); len(found) != 0 {
		t.Errorf("found %v in what is pure", found)
	}
}
