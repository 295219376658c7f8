//go:build synctests

package engine_test

// clientInBubbles: franz-go is built with mutexes that testing/synctest sees through.
const clientInBubbles = true
