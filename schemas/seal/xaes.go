package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"errors"
)

const (
	keySize    = 32
	nonceSize  = 24
	deriveSize = 12 // of the nonce: picks the message key; the rest is GCM's own nonce
)

// xaes is XAES-256-GCM (C2SP): AES-256-GCM under a key derived for each message from half of a 24-byte random nonce.
// Plain GCM with random nonces is good for 2^32 messages a key: five days at ten thousand payments a second.
type xaes struct {
	block cipher.Block
	k1    [aes.BlockSize]byte
}

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

// seal returns nonce, ciphertext, tag.
func (x *xaes) seal(plaintext, additional []byte) ([]byte, error) {
	out := make([]byte, nonceSize, nonceSize+len(plaintext)+aes.BlockSize)
	if _, err := rand.Read(out); err != nil {
		return nil, err
	}
	aead, err := x.derive(out)
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, out[deriveSize:nonceSize], plaintext, additional), nil
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
