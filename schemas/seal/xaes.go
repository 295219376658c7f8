package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"sync/atomic"
)

const (
	keySize    = 32
	nonceSize  = 24
	deriveSize = 12 // of the nonce: picks the message key; the rest is GCM's own nonce
)

// xaes is XAES-256-GCM (C2SP): AES-256-GCM under a key derived from half of a 24-byte random nonce.
// Plain GCM with random nonces is good for 2^32 messages a key: five days at ten thousand payments a second.
type xaes struct {
	block   cipher.Block
	k1      [aes.BlockSize]byte
	current atomic.Pointer[derived]
}

// derived is a message key in use: deriving one costs more than sealing a short message. messagesPerDerived random nonces
// of 96 bits meet with a chance of 2^-57, far below what AES-GCM asks for.
type derived struct {
	half [deriveSize]byte
	aead cipher.AEAD
	left atomic.Int64
}

const messagesPerDerived = 1 << 20

func newXAES(key []byte) (*xaes, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	x := &xaes{block: block}
	block.Encrypt(x.k1[:], x.k1[:])
	var carry byte
	for i := len(x.k1) - 1; i >= 0; i-- {
		carry, x.k1[i] = x.k1[i]>>7, x.k1[i]<<1|carry
	}
	x.k1[len(x.k1)-1] ^= 0b1000_0111 & -carry
	return x, nil
}

// derive is the message's GCM: CMAC in counter mode over the first half of the nonce.
func (x *xaes) derive(nonce []byte) (cipher.AEAD, error) {
	var key [keySize]byte
	for i := range 2 {
		half := key[i*aes.BlockSize : (i+1)*aes.BlockSize]
		half[1], half[2] = byte(i+1), 'X'
		copy(half[4:], nonce[:deriveSize])
		subtle.XORBytes(half, half, x.k1[:])
		x.block.Encrypt(half, half)
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal encrypts in place: b is room for the nonce and then the plaintext, and becomes nonce, ciphertext, tag.
func (x *xaes) seal(b, additional []byte) ([]byte, error) {
	d, err := x.sealing()
	if err != nil {
		return nil, err
	}
	copy(b, d.half[:])
	if _, err := rand.Read(b[deriveSize:nonceSize]); err != nil {
		return nil, err
	}
	return d.aead.Seal(b[:nonceSize], b[deriveSize:nonceSize], b[nonceSize:], additional), nil
}

// sealing is the message key to seal with, a new one when the last is used up.
func (x *xaes) sealing() (*derived, error) {
	if d := x.current.Load(); d != nil && d.left.Add(-1) >= 0 {
		return d, nil
	}
	d := &derived{}
	if _, err := rand.Read(d.half[:]); err != nil {
		return nil, err
	}
	var err error
	if d.aead, err = x.derive(d.half[:]); err != nil {
		return nil, err
	}
	d.left.Store(messagesPerDerived - 1)
	x.current.Store(d)
	return d, nil
}

func (x *xaes) open(sealed, additional []byte) ([]byte, error) {
	if len(sealed) < nonceSize {
		return nil, errors.New("shorter than its nonce")
	}
	aead, err := x.derive(sealed)
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, sealed[deriveSize:nonceSize], sealed[nonceSize:], additional)
}
