// Server is what the containers of this package's tests run: it does what its
// arguments say, in order, with "serve" at last unless they end it.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	args := os.Args[1:]
	next := func() string {
		if len(args) == 0 {
			return ""
		}
		a := args[0]
		args = args[1:]
		return a
	}
	for {
		switch word := next(); word {
		case "":
			serve()
		case "say":
			fmt.Println(next())
		case "exit":
			n, _ := strconv.Atoi(next())
			os.Exit(n)
		case "stubborn":
			signal.Ignore(syscall.SIGTERM)
		case "signal": // tell which one comes, and end; go on after SIGUSR2
			c := make(chan os.Signal, 1)
			signal.Notify(c)
			fmt.Println("waits")
			for s := range c {
				if s == syscall.SIGUSR2 {
					break
				}
				if s != syscall.SIGURG {
					fmt.Println("got", s)
					os.Exit(0)
				}
			}
		case "cat":
			b, err := os.ReadFile(next())
			fmt.Printf("%s%v\n", b, err)
		case "write":
			fmt.Println(os.WriteFile(next(), []byte("x"), 0o644))
		case "env":
			for _, e := range os.Environ() {
				fmt.Println(e)
			}
		case "id":
			fmt.Println(os.Getuid(), os.Getgid())
		case "ulimit":
			for name, what := range map[string]int{"cpu": 0, "nofile": 7} {
				var l syscall.Rlimit
				_ = syscall.Getrlimit(what, &l)
				fmt.Println(name, l.Cur, l.Max)
			}
		case "dial":
			c, err := net.DialTimeout(next(), next(), time.Second)
			if err == nil {
				_ = c.Close()
			}
			fmt.Println("dial:", err)
		case "eat": // memory
			n, _ := strconv.Atoi(next())
			all := make([][]byte, 0, n)
			for range n {
				b := make([]byte, 1<<20)
				for i := 0; i < len(b); i += 4096 {
					b[i] = 1
				}
				all = append(all, b)
			}
			runtime.KeepAlive(all)
		case "count": // one line each 10 ms
			go func() {
				for i := 0; ; i++ {
					fmt.Println("line", i)
					time.Sleep(10 * time.Millisecond)
				}
			}()
		case "tty": // wait until the terminal has that size
			rows, cols := next(), next()
			for {
				var size [4]uint16
				_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, 0, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size)))
				if got := fmt.Sprint(size[0], size[1]); got == rows+" "+cols {
					fmt.Println(got)
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
		case "echo": // stdin, for exec
			b, _ := io.ReadAll(os.Stdin)
			fmt.Print(strings.ToUpper(string(b)))
			fmt.Fprint(os.Stderr, "errors")
		case "sleep": // until it is told to end
			term := make(chan os.Signal, 1)
			if !signal.Ignored(syscall.SIGTERM) {
				signal.Notify(term, syscall.SIGTERM)
			}
			signal.Notify(term, syscall.SIGUSR2)
			<-term
			os.Exit(0)
		}
	}
}

func serve() {
	term := make(chan os.Signal, 1)
	if !signal.Ignored(syscall.SIGTERM) {
		signal.Notify(term, syscall.SIGTERM)
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, os.Getenv("SESSION_BACKEND_ID"))
		}))
	}()
	fmt.Println("serves")
	<-term
	fmt.Println("bye")
	os.Exit(0)
}
