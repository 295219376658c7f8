// Package compliance screens the other side of a payment against a list of blocked parties and countries. It compares
// keyed digests only: it never sees a name or a document, so it matches exactly or not at all.
package compliance

import "github.com/caudalpay/caudal/processors/payment"

// Blocklist is one version of what is blocked.
type Blocklist struct {
	Ref       string              // id@version
	Countries map[string]struct{} // ISO 3166-1 alpha-2
	Parties   map[string]struct{} // bytes of the digests of names, documents or accounts
}

// Screen is the reasons to decline, ordered; none where the list is nil.
func Screen(l *Blocklist, c payment.Counterparty) []payment.Reason {
	if l == nil {
		return nil
	}
	var reasons []payment.Reason
	if l.blocks(c.Digest) || l.blocks(c.NameDigest) || l.blocks(c.DocumentDigest) || l.blocks(c.AccountDigest) {
		reasons = append(reasons, payment.ReasonBlockedParty)
	}
	if _, ok := l.Countries[c.Country]; ok && c.Country != "" {
		reasons = append(reasons, payment.ReasonBlockedCountry)
	}
	return reasons
}

// blocks never matches an absent digest, whatever the list holds.
func (l *Blocklist) blocks(digest []byte) bool {
	_, ok := l.Parties[string(digest)]
	return ok && len(digest) > 0
}
