// Package token seals and opens the tokens of URLs.
//
// A token is a sealed capability: what it allows stands inside, nobody without
// the keys can read or change it, and nothing about it is stored anywhere. It is
//
//	base64url( version, key number, nonce, XChaCha20-Poly1305(fields) )
//
// with version and key number as associated data. A token has one spelling:
// any other string, also one that decodes to the same bytes, is malformed.
//
// Static tokens are "s." and a MAC of the backend's id under a key that
// doesn't rotate, so that they can be made again and needn't be stored either.
package token
