// Guest is what runs in the containers of tests of what they reach. Without an
// argument it answers on 8080.
package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"plane/internal/runtime/egress/egresstest/reach"
)

func main() {
	if len(os.Args) == 1 {
		if err := reach.Answer(":8080"); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		end := make(chan os.Signal, 1)
		signal.Notify(end, syscall.SIGTERM)
		<-end
		os.Exit(3)
	}
	switch args := os.Args[2:]; os.Args[1] {
	case "dial":
		fmt.Println(strings.Join(reach.Of(args...), " "))
	case "lookup":
		fmt.Println(net.LookupHost(args[0]))
	case "address": // of its way out
		if out, err := net.InterfaceByName("out0"); err == nil {
			all, _ := out.Addrs()
			for _, a := range all {
				if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
					fmt.Println(p.Addr())
				}
			}
		}
	case "cat":
		b, err := os.ReadFile(args[0])
		fmt.Printf("%s%v\n", b, err)
	}
}
