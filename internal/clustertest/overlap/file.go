package overlap

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Env names the shared file to the backends under test.
const Env = "PLANE_OVERLAP_FILE"

const (
	slots      = 1 << 16
	slotWords  = 8
	headWords  = 8
	fileBytes  = (headWords + slots*slotWords) * 8
	fileMagic  = 0x6f7665726c617031 // "overlap1"
	headMagic  = 0
	headClaims = 1
)

// Words of a slot. wordLast is written last when a life begins.
const (
	wordKey = iota
	wordGeneration
	wordPid
	wordBorn // start time of the process, as the kernel tells it
	wordRole
	wordFirst
	wordLast
	wordSpace // the pid namespace that the pid is of
)

// File is a mapped file of lives.
type File struct {
	mem   []byte
	words []uint64
}

// Create makes an empty file at path.
func Create(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(fileBytes); err != nil {
		return nil, err
	}
	m, err := mapFile(f)
	if err == nil {
		atomic.StoreUint64(&m.words[headMagic], fileMagic)
	}
	return m, err
}

// Open maps a file that Create made.
func Open(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || st.Size() != fileBytes {
		return nil, fmt.Errorf("%s is no file of lives", path)
	}
	m, err := mapFile(f)
	if err != nil {
		return nil, err
	}
	if atomic.LoadUint64(&m.words[headMagic]) != fileMagic {
		_ = m.Close()
		return nil, fmt.Errorf("%s is no file of lives", path)
	}
	return m, nil
}

func mapFile(f *os.File) (*File, error) {
	mem, err := unix.Mmap(int(f.Fd()), 0, fileBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", f.Name(), err)
	}
	return &File{mem: mem, words: unsafe.Slice((*uint64)(unsafe.Pointer(&mem[0])), fileBytes/8)}, nil
}

// Close unmaps the file.
func (f *File) Close() error { return unix.Munmap(f.mem) }

func (f *File) slot(i int) []uint64 {
	return f.words[headWords+i*slotWords : headWords+(i+1)*slotWords]
}

// Beat is one process's own slot.
type Beat struct{ slot []uint64 }

// ErrFull: more processes than the file has room for.
var ErrFull = errors.New("file of lives is full")

// Begin notes that this process lives.
func (f *File) Begin(key uint64, generation int64, role Role) (Beat, error) {
	i := int(atomic.AddUint64(&f.words[headClaims], 1)) - 1
	if i >= slots {
		return Beat{}, ErrFull
	}
	pid := os.Getpid()
	s, now := f.slot(i), uint64(bootTime())
	for word, v := range map[int]uint64{
		wordKey: key, wordGeneration: uint64(generation), wordPid: uint64(pid), wordBorn: born(pid), wordRole: uint64(role), wordFirst: now, wordSpace: space("self"),
	} {
		atomic.StoreUint64(&s[word], v)
	}
	atomic.StoreUint64(&s[wordLast], now)
	return Beat{s}, nil
}

// Touch notes that it still does.
func (b Beat) Touch() { atomic.StoreUint64(&b.slot[wordLast], uint64(bootTime())) }

// Lives are all lives so far.
func (f *File) Lives() []Life {
	n := min(int(atomic.LoadUint64(&f.words[headClaims])), slots)
	lives := make([]Life, 0, n)
	for i := range n {
		s := f.slot(i)
		last := int64(atomic.LoadUint64(&s[wordLast]))
		if last == 0 {
			continue // killed before it had begun
		}
		lives = append(lives, Life{
			Key:        atomic.LoadUint64(&s[wordKey]),
			Generation: int64(atomic.LoadUint64(&s[wordGeneration])),
			Pid:        int(atomic.LoadUint64(&s[wordPid])),
			Role:       Role(atomic.LoadUint64(&s[wordRole])),
			First:      int64(atomic.LoadUint64(&s[wordFirst])),
			Last:       last,
			born:       atomic.LoadUint64(&s[wordBorn]),
			space:      atomic.LoadUint64(&s[wordSpace]),
		})
	}
	return lives
}
