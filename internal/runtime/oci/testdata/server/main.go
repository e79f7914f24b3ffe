// Command server is what the tests' images run: it listens on PORT, or does
// what its first argument says.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	mode := ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	switch mode {
	case "exit":
		fmt.Println("bye")
		code, _ := strconv.Atoi(os.Args[2])
		os.Exit(code)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
	case "own-signal": // says by which it was asked to end
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGTERM, syscall.SIGUSR1)
		fmt.Println("ready")
		go func() {
			fmt.Println("asked by", <-asked)
			os.Exit(0)
		}()
	case "lingers": // beside another
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("bye")
		time.Sleep(time.Hour)
	case "fill":
		fill(os.Args[2])
	case "terminal":
		terminal()
	case "show":
		show(os.Args[2:])
		return
	default:
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		go func() {
			<-term
			os.Exit(0)
		}()
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		panic(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello\n") })
	panic(http.Serve(l, nil))
}

// fill writes until the disk is full, and says how much there was and why not more.
func fill(path string) {
	f, err := os.Create(path)
	n := 0
	for err == nil {
		_, err = f.Write(make([]byte, 64<<10))
		n += 64 << 10
	}
	fmt.Println(n, err)
	os.Exit(0)
}

// terminal tells sizes until a line comes.
func terminal() {
	go func() {
		sized := make(chan os.Signal, 1)
		signal.Notify(sized, syscall.SIGWINCH)
		for {
			var s struct{ rows, cols, x, y uint16 }
			_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, 0, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&s)))
			fmt.Println("size", s.rows, s.cols)
			select {
			case <-sized:
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	var word string
	_, _ = fmt.Scan(&word)
	fmt.Println("read", word)
	os.Exit(5)
}

// show prints files, directories and what words stand for.
func show(words []string) {
	for _, w := range words {
		switch {
		case w == "id":
			groups, _ := os.Getgroups()
			wd, _ := os.Getwd()
			host, _ := os.Hostname()
			fmt.Println("id", os.Getuid(), os.Getgid(), groups, wd, host)
		case w == "env":
			fmt.Println(strings.Join(os.Environ(), "\n"))
		case w == "limits":
			var cpu, files syscall.Rlimit
			_, _ = syscall.Getrlimit(syscall.RLIMIT_CPU, &cpu), syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files)
			fmt.Println("limits", cpu.Cur, cpu.Max, files.Cur)
		case strings.HasPrefix(w, "chmod:"): // to what it is already
			fmt.Println(w, os.Chmod(w[6:], 0o666))
		case strings.HasPrefix(w, "write:"):
			fmt.Println(w, os.WriteFile(w[6:], []byte("written\n"), 0o644))
		case strings.HasPrefix(w, "owner:"):
			st, err := os.Lstat(w[6:])
			if err != nil {
				fmt.Println(w, err)
				continue
			}
			sys := st.Sys().(*syscall.Stat_t)
			fmt.Println(w, sys.Uid, sys.Gid, st.Mode())
		case strings.HasPrefix(w, "size:"):
			var st syscall.Statfs_t
			_ = syscall.Statfs(w[5:], &st)
			fmt.Println(w, int64(st.Blocks)*st.Bsize)
		case strings.HasPrefix(w, "dial:"):
			c, err := net.DialTimeout("unix", w[5:], time.Second)
			fmt.Println(w, err)
			if c != nil {
				_ = c.Close()
			}
		default:
			b, err := os.ReadFile(w)
			fmt.Printf("%s: %s%v\n", w, b, err)
		}
	}
}
