// Package webhooks takes in what processors tell by webhook: it checks who speaks over the bytes as they came, writes the
// notification to rails.notifications.v1 (acks=all), and only then says yes. The connectors apply it later, in the order of the
// log.
//
// It believes nothing: a notification is a hint to ask its processor, and moves no money. What it tells is carried as a claim,
// the body sealed, since processors send names and documents that nobody asked for.
//
// It refuses who does not know the processor's secret, what was signed too long ago, and more than it can write; and it tells a
// forger nothing about which of these it was.
package webhooks
