package engine

import (
	"net/url"
	"regexp"
	"strings"
)

// readonly=1 forbids an analyst nearly everything that is not reading tables. What it leaves open reaches
// files of this machine with the rights of this process: INTO OUTFILE, the scalar function file(), and
// DESCRIBE of table functions. These are found in the text, without parsing it, so a few harmless
// statements are refused as well; the owner's password lifts that.
var (
	wordOutfile = regexp.MustCompile(`(?i)\bOUTFILE\b`)
	wordFile    = regexp.MustCompile(`(?i)\bfile\b`)
)

func checkAnalyst(req *request, query url.Values) error {
	keyword, texts := req.keyword, []string{req.statement}
	for name, values := range query {
		if strings.HasPrefix(name, "param_") { // it may become a name in the statement
			texts = append(texts, values[0])
		}
	}
	statement := strings.Join(texts, "\n")
	refuse := func(what string) error {
		return exceptionf(codeReadonly, "%s: Cannot execute query in readonly mode: %s. (READONLY)", AnalystUser, what)
	}
	switch {
	case !reads(keyword), keyword == "CHECK":
		return refuse("only statements that read")
	case strings.HasPrefix(keyword, "DESC") && strings.Contains(statement, "("):
		return refuse("only tables can be described")
	case wordOutfile.MatchString(statement):
		return refuse("no output into files")
	case strings.Contains(statement, `\x`):
		return refuse(`no \x escapes, which could spell a name`)
	// As a literal of its own it is a value, not a function.
	case wordFile.MatchString(strings.ReplaceAll(statement, "'file'", "")):
		return refuse("no access to files")
	}
	return nil
}
