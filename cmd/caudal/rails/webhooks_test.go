package rails_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caudalpay/caudal/cmd/caudal/rails"
)

// hooked is a file of one acquirer with a webhook.
func hooked(t *testing.T, dialect, webhook string) string {
	t.Helper()
	folder := t.TempDir()
	text := "kind: rails\nversion: 1\nroutes: routes.yaml\nacquirers:\n  - name: a\n    dialect: " + dialect + "\n    secret: {file: key}\n" + webhook
	for name, content := range map[string]string{
		"rails.yaml": text, "key": "k", "one": "whsec_b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZA==\n", "two": "whsec_bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldw==",
		"value": "a-value-of-cielo", "pair": "user:a-long-password", "short": "whsec_b2xk",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(folder, "rails.yaml")
}

func TestWebhooksOfAFile(t *testing.T) {
	t.Setenv("HOOK_SECRET", "whsec_b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZA==")
	for name, c := range map[string]struct{ dialect, webhook string }{
		"standard is the default": {"rede", "    webhook: {secrets: [{file: one}]}"},
		"two secrets":             {"rede", "    webhook: {secrets: [{file: one}, {env: HOOK_SECRET}], tolerance: 1m, per_second: 5}"},
		"cielo by header":         {"cielo", "    webhook: {header: X-Key, secrets: [{file: value}]}"},
		"pagarme by basic":        {"pagarme", "    webhook: {secrets: [{file: pair}]}"},
		"cielo behind a gateway":  {"cielo", "    webhook: {scheme: standard, secrets: [{file: two}]}"},
	} {
		all, err := rails.Webhooks(hooked(t, c.dialect, c.webhook))
		if err != nil || len(all) != 1 || all["a"].Dialect != c.dialect || all["a"].Verifier == nil || all["a"].PerSecond <= 0 {
			t.Errorf("%s: %v %+v", name, err, all)
		}
	}
	all, err := rails.Webhooks(hooked(t, "rede", ""))
	if err != nil || len(all) != 0 {
		t.Errorf("without a webhook nobody may notify: %v %v", all, err)
	}
	simulated, err := rails.Webhooks(configured(t, "http://127.0.0.1:1"))
	if err != nil || len(simulated) != 4 {
		t.Errorf("the simulated file: %v %v", simulated, err)
	}
}

// A file that cannot be meant is refused at the start, by name, and no secret is in the words.
func TestWebhooksThatCannotBeMeant(t *testing.T) {
	for name, c := range map[string]struct{ dialect, webhook, want string }{
		"no secret":          {"rede", "    webhook: {}", "one, or two"},
		"three secrets":      {"rede", "    webhook: {secrets: [{file: one}, {file: two}, {file: one}]}", "one, or two"},
		"a secret in clear":  {"rede", "    webhook: {secrets: [whsec_b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZA==]}", ""},
		"env and file":       {"rede", "    webhook: {secrets: [{file: one, env: X}]}", "one of them"},
		"unset":              {"rede", "    webhook: {secrets: [{env: NO_SUCH_VARIABLE}]}", "NO_SUCH_VARIABLE"},
		"no such file":       {"rede", "    webhook: {secrets: [{file: nowhere}]}", "nowhere"},
		"too short":          {"rede", "    webhook: {secrets: [{file: short}]}", "24 bytes"},
		"no pair":            {"pagarme", "    webhook: {secrets: [{file: value}]}", "user:password"},
		"header without":     {"cielo", "    webhook: {secrets: [{file: value}]}", "header"},
		"unknown scheme":     {"rede", "    webhook: {scheme: md5, secrets: [{file: value}]}", "md5"},
		"unknown word":       {"rede", "    webhook: {secret: {file: one}}", ""},
		"tolerance":          {"rede", "    webhook: {tolerance: soon, secrets: [{file: one}]}", "tolerance"},
		"tolerance below 0":  {"rede", "    webhook: {tolerance: -1m, secrets: [{file: one}]}", "tolerance"},
		"per_second below 0": {"rede", "    webhook: {per_second: -1, secrets: [{file: one}]}", "per_second"},
	} {
		_, err := rails.Webhooks(hooked(t, c.dialect, c.webhook))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, secret := range []string{"b2xk", "a-value-of-cielo", "a-long-password"} {
			if strings.Contains(err.Error(), secret) && c.want != "" {
				t.Errorf("%s: the words tell a secret: %v", name, err)
			}
		}
	}
}
