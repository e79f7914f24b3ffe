// Package waiter is the first process of a prepared sandbox: it waits on a pipe
// for what to run and then runs that in its own place.
//
// The program is some 250 bytes of machine code: it stands in this package as
// assembly, and Program puts an ELF header before it, so that neither a compiler
// nor a binary file is needed. It only makes system calls. Why not a Go program:
// a sandbox may wait for hours, and there are many. This one holds 8 KB while it
// waits, and half a millisecond after it was told the command has run and ended.
// This program's own executable as the init takes 7 ms of a processor to begin,
// holds 15 MB, and is a file of 30 MB to show to every image.
//
// What it reads is made by Command.Payload: the memory that it is going to hand to
// execve, with every pointer in it ready for the address where it is going to be.
// So the assembly neither parses nor allocates.
package waiter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Descriptor is where the program reads. It waits for one payload and closes it
// then. At the end of the pipe, before or amid a payload, it exits with 0.
const Descriptor = 3

// Exit codes of a program that could not be run, as shells and Docker have them.
const (
	ExitDenied  = 126 // it is there and can't be executed, or its directory can't be entered
	ExitMissing = 127 // no such file
)

// MaxPayload is the longest payload. The system takes no longer arguments and
// environment than 6 MiB.
const MaxPayload = 8 << 20

// Command is what a waiter is to run. Nothing in it may contain a zero byte.
type Command struct {
	Dir   string   // its working directory; "" = as it is
	Paths []string // where the program may be, in this order; see Paths
	Argv  []string
	Env   []string // NAME=value
}

// base is the address at which the payload is going to be. Nothing else of such a
// small program is there, on any system of 64 bits: programs are loaded below,
// stack, kernel's pages and mappings are far above.
const base = 0x2_0000_0000

// The payload begins with these words. The assembly knows their offsets.
const (
	wordDir        = iota // address, 0 = none
	wordPaths             // address of a list of addresses that ends with 0, as the next two
	wordArgv              //
	wordEnv               //
	wordNoDir             // address and length of what is said when Dir can't be entered
	_                     //
	wordDenied            // when there is a program that can't be executed
	_                     //
	wordMissing           // when there is none
	_                     //
	payloadHeading        // number of words
)

// payload is being made.
type payload struct {
	words []uint64
	text  []byte
	fixes []int // words that are offsets into text
}

// Payload is what to write to the waiter's pipe: its length in 8 bytes, and the
// memory.
func (c Command) Payload() ([]byte, error) {
	if len(c.Argv) == 0 || len(c.Paths) == 0 {
		return nil, errors.New("make payload: no command")
	}
	for _, list := range [][]string{{c.Dir}, c.Paths, c.Argv, c.Env} {
		for _, s := range list {
			if strings.IndexByte(s, 0) >= 0 {
				return nil, fmt.Errorf("make payload: %q contains a zero byte", s)
			}
		}
	}
	p := payload{words: make([]uint64, payloadHeading)}
	if c.Dir != "" {
		p.set(wordDir, p.put(c.Dir+"\x00"))
	}
	p.list(wordPaths, c.Paths)
	p.list(wordArgv, c.Argv)
	p.list(wordEnv, c.Env)
	p.say(wordNoDir, fmt.Sprintf("The working directory %s can't be entered by the user of this backend; correct dir, or the image.\n", c.Dir))
	p.say(wordDenied, fmt.Sprintf("Command %q can't be executed: its file needs the right to be, and must be a program of this machine or begin with a line such as #!/bin/sh.\n", c.Argv[0]))
	p.say(wordMissing, fmt.Sprintf("Command %q was not found in the image; correct the command, or its PATH.\n", c.Argv[0]))
	return p.bytes()
}

// put adds text and returns where it is in it.
func (p *payload) put(s string) int {
	at := len(p.text)
	p.text = append(p.text, s...)
	return at
}

// set makes word i the address of what put returned.
func (p *payload) set(i, at int) {
	p.words[i] = uint64(at)
	p.fixes = append(p.fixes, i)
}

func (p *payload) list(i int, all []string) {
	p.words[i] = base + uint64(len(p.words))*8
	for _, s := range all {
		p.words = append(p.words, 0)
		p.set(len(p.words)-1, p.put(s+"\x00"))
	}
	p.words = append(p.words, 0)
}

func (p *payload) say(i int, s string) {
	p.set(i, p.put(s))
	p.words[i+1] = uint64(len(s))
}

func (p *payload) bytes() ([]byte, error) {
	texts := uint64(len(p.words)) * 8
	length := texts + uint64(len(p.text))
	if length > MaxPayload {
		return nil, errors.New("arguments and environment together are too long for this system; shorten them")
	}
	for _, i := range p.fixes {
		p.words[i] += base + texts
	}
	out := binary.LittleEndian.AppendUint64(make([]byte, 0, 8+length), length)
	for _, w := range p.words {
		out = binary.LittleEndian.AppendUint64(out, w)
	}
	return append(out, p.text...), nil
}

// Paths are the files that a word may mean, as a shell would look for it: itself
// if it has a slash in it, else one in each of the directories of path.
func Paths(word, path string) []string {
	if strings.Contains(word, "/") {
		return []string{word}
	}
	var all []string
	for dir := range strings.SplitSeq(path, ":") {
		if dir == "" {
			dir = "."
		}
		all = append(all, strings.TrimSuffix(dir, "/")+"/"+word)
	}
	return all
}
