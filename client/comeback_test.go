package client_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"plane/client"
)

// nobody is a network in which nothing answers.
type nobody struct{}

func (nobody) RoundTrip(*http.Request) (*http.Response, error) { return nil, errors.New("refused") }

func TestASocketTriesEveryTwoSecondsForAMinuteAndAnewWhenToldTo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var tries []time.Time // when it was asked, under mu
		ask := func(context.Context) (client.ConnectResponse, error) {
			mu.Lock()
			defer mu.Unlock()
			tries = append(tries, time.Now())
			if len(tries) > 1 {
				return client.ConnectResponse{}, errors.New("refused")
			}
			return client.ConnectResponse{URL: "http://board.test/"}, nil
		}
		s, err := client.NewSession(t.Context(), ask, client.SessionOptions{HTTP: &http.Client{Transport: nobody{}}})
		if err != nil {
			t.Fatal(err)
		}
		k := s.Socket("ws", client.SocketOptions{}).AlwaysLate()
		ended := make(chan error, 1)
		go func() { ended <- k.Run(t.Context()) }()
		pass := func(d time.Duration) {
			<-time.After(d) // of the bubble's clock
			synctest.Wait()
		}
		count := func() int {
			mu.Lock()
			defer mu.Unlock()
			return len(tries)
		}
		longest := func(from, to time.Time) (gap time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			for _, at := range append(tries, to) {
				if at.After(from) && !at.After(to) {
					gap, from = max(gap, at.Sub(from)), at
				}
			}
			return gap
		}
		for range 2 {
			from := time.Now()
			pass(3 * time.Minute)
			if gap := longest(from, from.Add(time.Minute)); gap > 2*time.Second {
				t.Errorf("in the first minute %v without an attempt", gap)
			}
			if gap := longest(from.Add(65*time.Second), time.Now()); gap < 10*time.Second || gap > 15*time.Second {
				t.Errorf("later %v without an attempt", gap)
			}
			n := count()
			k.Retry()
			pass(0)
			if now := count(); now != n+1 {
				t.Errorf("%d attempts, not one, when told to", now-n)
			}
		}
		k.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
