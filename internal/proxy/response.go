package proxy

import (
	"strconv"
	"strings"
)

// response is the head of a backend's response, checked.
type response struct {
	status   int
	reason   string
	minor    int
	fields   []field
	length   int64 // of the body, chunked or untilClose
	declared int64 // what length would be if this weren't the answer to a HEAD or a 304
	close    bool  // the backend ends the connection after it
	cors     bool  // it has CORS fields of its own
	change   string
}

// parseResponse reads a response's head; head tells whether it answers a HEAD.
func parseResponse(text string, r *response, head bool) error {
	*r = response{fields: r.fields[:0]}
	line, text, _, ok := nextLine(text)
	version, line, ok1 := strings.Cut(line, " ")
	code, reason, _ := strings.Cut(line, " ")
	if !ok || !ok1 || len(code) != 3 || len(version) != 8 || version[:7] != "HTTP/1." {
		return errMalformed
	}
	status, err := strconv.Atoi(code)
	if err != nil || status < 100 || status > 999 || version[7] < '0' || version[7] > '1' {
		return errMalformed
	}
	r.status, r.reason, r.minor = status, reason, int(version[7]-'0')
	if r.fields, err = parseFields(r.fields, text, false); err != nil {
		return err
	}
	return r.readFields(head)
}

func (r *response) readFields(head bool) error {
	r.length = untilClose
	r.close = r.minor == 0
	lengths, coded := 0, false
	for _, f := range r.fields {
		switch {
		case len(f.name) == 10 && strings.EqualFold(f.name, "Connection"):
			r.close = r.close || hasToken(f.value, "close")
		case len(f.name) == 7 && strings.EqualFold(f.name, "Upgrade"):
			r.change = f.value
		case len(f.name) == 14 && strings.EqualFold(f.name, "Content-Length"):
			n, ok := parseLength(f.value)
			if !ok || lengths > 0 && n != r.length {
				return errMalformed
			}
			r.length = n
			lengths++
		case len(f.name) == 17 && strings.EqualFold(f.name, "Transfer-Encoding"):
			if coded || !strings.EqualFold(f.value, "chunked") {
				return errMalformed
			}
			coded = true
		case len(f.name) > 25 && isCORS(f.name):
			r.cors = true
		}
	}
	if coded {
		r.length = chunked
	}
	r.declared = r.length
	if head || r.status < 200 || r.status == 204 || r.status == 304 {
		r.length = 0
	}
	r.close = r.close || r.length == untilClose
	return nil
}

func isCORS(name string) bool {
	return strings.EqualFold(name, "Access-Control-Allow-Origin") ||
		strings.EqualFold(name, "Access-Control-Allow-Methods") ||
		strings.EqualFold(name, "Access-Control-Allow-Headers")
}
