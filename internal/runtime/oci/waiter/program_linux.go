//go:build amd64 || arm64

package waiter

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"unsafe"
)

// codeAddress is where the assembly stands in this program.
func codeAddress() unsafe.Pointer

// codeEnd follows the last instruction, and stands nowhere before.
const codeEnd = "\x06PLANE\x06\x06"

// maxCode bounds the search for it.
const maxCode = 1 << 10

func code() ([]byte, error) {
	start := (*byte)(codeAddress())
	for n := range maxCode {
		all := unsafe.Slice(start, n+len(codeEnd))
		if string(all[n:]) == codeEnd {
			return bytes.Clone(all[:n]), nil
		}
	}
	return nil, errors.New("the code of the waiter isn't in this program as it should be")
}

// loadAddress is where the system puts the program.
const loadAddress = 0x40_0000

// Program is the program as a file to execute: static, without a library, for
// the machine that runs this.
func Program() ([]byte, error) {
	body, err := code()
	if err != nil {
		return nil, err
	}
	type segment = elf.Prog64
	const heading = 64 + 2*56 // sizes of the header and of two segments'
	head := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{
			0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT),
		},
		Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Entry: loadAddress + heading, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 2, Shentsize: 64,
	}
	size := uint64(heading + len(body))
	segments := []segment{
		{
			Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X),
			Vaddr: loadAddress, Paddr: loadAddress, Filesz: size, Memsz: size, Align: 64 << 10,
		},
		{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(elf.PF_R | elf.PF_W)}, // and not to be executed
	}
	var out bytes.Buffer
	for _, part := range []any{head, segments, body} {
		if err := binary.Write(&out, binary.LittleEndian, part); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}
