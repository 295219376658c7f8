//go:build !synctests

package engine_test

const clientInBubbles = false
