package main

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// listening is where `plane dev` of a data directory serves, or last served.
type listening struct {
	API   string `json:"api"`
	Proxy string `json:"proxy"`
}

const listeningFile = "listening"

func noteListening(dir string, l listening) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, listeningFile), string(b)+"\n")
}

// listeningOf is the zero value if it isn't known.
func listeningOf(dir string) (l listening) {
	b, err := os.ReadFile(filepath.Join(dir, listeningFile))
	if err != nil || json.Unmarshal(b, &l) != nil {
		return listening{}
	}
	return l
}
