package request

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// CheckHost refuses a name whose registry cannot be reached: one with a port out of range, or with an IPv6 address,
// which the library cannot parse.
func CheckHost(name string) error {
	if strings.HasPrefix(name, "[") {
		return errors.New("names its registry by an IPv6 address, which is not supported: give the address a name, in DNS or /etc/hosts")
	}
	host, _, found := strings.Cut(name, "/")
	_, port, ok := strings.Cut(host, ":")
	if !found || !ok || port == "" || strings.Trim(port, "0123456789") != "" {
		return nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("names its registry with the port %s, want one from 1 to 65535", port)
	}
	return nil
}
