#include "textflag.h"

// The waiter. It begins as a process, not as a function: nothing has been set up
// and nothing returns. System calls change R0 only. See code_linux_amd64.s, which
// is the same program.

#define SYS_chdir      49
#define SYS_close      57
#define SYS_read       63
#define SYS_write      64
#define SYS_exit_group 94
#define SYS_execve     221
#define SYS_mmap       222

#define BASE    0x200000000 // base in waiter.go
#define LENGTH  -64(RSP)    // nothing else uses the stack

TEXT waiter<>(SB), NOSPLIT|NOFRAME, $0-0
	// R19: where to read to, R20: how much is missing,
	// R21: the payload's memory, 0 while its length is being read.
	SUB  $64, RSP, R19
	MOVD $8, R20
	MOVD $0, R21

more:
	MOVD $3, R0
	MOVD R19, R1
	MOVD R20, R2
	MOVD $SYS_read, R8
	SVC
	CMP  $0, R0
	BLE  unwanted
	ADD  R0, R19
	SUB  R0, R20
	CBNZ R20, more
	CBNZ R21, complete

	// The length is there: memory for the payload, where its pointers point.
	MOVD $BASE, R0
	MOVD LENGTH, R1
	MOVD $3, R2    // PROT_READ | PROT_WRITE
	MOVD $0x32, R3 // MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS
	MOVD $-1, R4
	MOVD $0, R5
	MOVD $SYS_mmap, R8
	SVC
	CMP  $0, R0
	BLE  unwanted
	MOVD R0, R21
	MOVD R0, R19
	MOVD LENGTH, R20
	B    more

unwanted: // the pipe ended: nobody will ever want this sandbox
	MOVD $0, R0
	MOVD $SYS_exit_group, R8
	SVC

complete:
	MOVD $3, R0
	MOVD $SYS_close, R8
	SVC
	MOVD (0*8)(R21), R0 // wordDir
	CBZ  R0, there
	MOVD $SYS_chdir, R8
	SVC
	ADD  $(4*8), R21, R20 // wordNoDir
	MOVD $126, R22
	CBNZ R0, say

there:
	MOVD (1*8)(R21), R19  // wordPaths
	ADD  $(8*8), R21, R20 // wordMissing, unless one is there
	MOVD $127, R22

next:
	MOVD (R19), R0
	CBZ  R0, say
	ADD  $8, R19
	MOVD (2*8)(R21), R1 // wordArgv
	MOVD (3*8)(R21), R2 // wordEnv
	MOVD $SYS_execve, R8
	SVC
	CMN  $2, R0 // ENOENT
	BEQ  next
	CMN  $20, R0 // ENOTDIR
	BEQ  next
	ADD  $(6*8), R21, R20 // wordDenied
	MOVD $126, R22
	B    next

say: // what R20 points to, and exit with R22
	MOVD $2, R0
	MOVD 0(R20), R1
	MOVD 8(R20), R2
	MOVD $SYS_write, R8
	SVC
	MOVD R22, R0
	MOVD $SYS_exit_group, R8
	SVC

	WORD $0x414c5006 // codeEnd in program_linux.go
	WORD $0x0606454e

TEXT ·codeAddress(SB), NOSPLIT, $0-8
	MOVD $waiter<>(SB), R0
	MOVD R0, ret+0(FP)
	RET
