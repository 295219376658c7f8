package pagarme

import "github.com/caudalpay/caudal/cmd/railsim/cards"

// Tells says whether there is a webhook of a stage: Pagar.me's tells that the money was taken, and nothing else.
func (s *Server) Tells(stage cards.Stage) bool { return stage == cards.StageDispute }
