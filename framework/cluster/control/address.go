package control

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// Address returns the URL that text names as the place of a process's API: text is
// host:port, which means http, or an http or https URL, perhaps with the path below
// which the API is mounted. The result has no slash at its end.
func Address(text string) (string, error) {
	bad := fmt.Errorf("address %.300q: want host:port, or a URL such as https://node-3.internal:8443, of at most %d bytes", text, MaxText)
	full := text
	if !strings.Contains(text, "://") {
		if _, _, err := net.SplitHostPort(text); err != nil {
			return "", bad
		}
		full = "http://" + text
	}
	u, err := url.Parse(full)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Port() == "0" || u.User != nil ||
		u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return "", bad
	}
	if out := strings.TrimRight(u.String(), "/"); len(out) <= MaxText {
		return out, nil
	}
	return "", bad
}

// From returns the address at which a process on host reaches m, empty if there is
// none: a loopback address leads another machine to itself.
func (m Member) From(host string) string {
	u, err := url.Parse(m.Address)
	if err != nil || u.Host == "" || loopback(u.Hostname()) && (host == "" || host != m.Host) {
		return ""
	}
	return m.Address
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback() || strings.EqualFold(host, "localhost") || strings.HasSuffix(strings.ToLower(host), ".localhost")
}
