package progress

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestNoCredentialIsWritten(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{`Get "https://me:hunter2@my.test/v2/": EOF`, `Get "https://***@my.test/v2/": EOF`},
		{`https://me:hun@ter2@my.test:5000/v2/`, `https://***@my.test:5000/v2/`},
		{`https://me@my.test`, `https://***@my.test`},
		{`Authorization: Basic bWU6aHVudGVyMg==`, `Authorization: Basic ***`},
		{`authorization: bWU6aHVudGVyMg==`, `authorization: ***`},
		{`map[Authorization:[Bearer hunter2]]`, `map[Authorization:[Bearer ***]]`},
		{`"Authorization": "Negotiate hunter2"`, `"Authorization": "Negotiate ***"`},
		{`sent bearer hunter2, refused`, `sent bearer ***, refused`},
		{`Bearer` + "\t" + `hunter2`, `Bearer ***`},
		{`https://auth.example.com/token?token=hunter2&service=x`, `https://auth.example.com/token`},
		{`Get "/x/y?st=hunter2": EOF`, `Get "/x/y": EOF`},
		{`Get \"https://a.example/x#hunter2\": EOF`, `Get \"https://a.example/x\": EOF`},
		{`failed to parse Location header "http://[?hunter2": bad`, `failed to parse Location header "***": bad`},
		{`(https://a.example/?verify=1-hunter2 is gone)`, `(https://a.example/ is gone)`},
		{`access_token=hunter2 refresh-token="hunter2"`, `access_token=*** refresh-token="***"`},
		{`password=hunter2; sig=hunter2`, `password=***; sig=***`},
		{`{"token": "hunter2", "expires_in": 300}`, `{"token": "***", "expires_in": 300}`},
		{`{"Username":"u","Secret":"a\"hunter2\\"}`, `{"Username":"u","Secret":"***"}`},
		{`out "{\"Secret\":\"a\\\"hunter2\\\\\",\"n\":1}"`, `out "{\"Secret\":\"***\",\"n\":1}"`},
		{`body "{\"identitytoken\":\"hunter2\"}"`, `body "{\"identitytoken\":\"***\"}"`},
		{`{"auths":{"my.test":{"auth":"bWU6aHVudGVyMg=="}}}`, `{"auths":{"my.test":{"auth":"***"}}}`},
		{
			`https://cdn.example.com/x?X-Amz-Credential=hunter2%2Fs3&X-Amz-Expires=600&X-Amz-Signature=hunter2`,
			`https://cdn.example.com/x`,
		},
	} {
		if got := Clean(test.in); got != test.want {
			t.Errorf("Clean(%q)\n got %s\nwant %s", test.in, got, test.want)
		}
	}
}

// TestHiddenSecrets: what was sent as a credential is replaced wherever it stands, also coded for a URL.
func TestHiddenSecrets(t *testing.T) {
	for _, secret := range []string{"S3cr3t/Pass w0rd", "joe:S3cr3t/Pass w0rd", "abc", ""} {
		Hide(secret)
	}
	for in, want := range map[string]string{
		"user joe with S3cr3t/Pass w0rd":            "user joe with ***",
		"<joe:S3cr3t/Pass w0rd>":                    "<***>",
		"x=S3cr3t%2FPass+w0rd S3cr3t%2FPass%20w0rd": "x=*** ***",
		"abc, (abc) but abcd and xabc":              "***, (***) but abcd and xabc",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
	for range 2 * maxHidden {
		Hide(strings.Repeat("x", 10))
	}
	for n := range 2 * maxHidden {
		Hide("token-" + strings.Repeat("y", n+10))
	}
	if n := len(hidden.recent); n != maxHidden {
		t.Errorf("%d secrets are remembered, want %d", n, maxHidden)
	}
}

func TestWhatIsNoCredentialStays(t *testing.T) {
	for _, text := range []string{
		"my.test/fedora/fedora:41@sha256:0123abcd…",
		"docker://my.test/fedora/fedora@sha256:0123abcd",
		"docker://fedora@sha256:0123abcd",
		"https://my.test:443/v2/fedora@sha256:0123abcd",
		"requesting bearer token: invalid status code from registry 403 (Forbidden)",
		"unable to retrieve auth token: invalid username/password: unauthorized",
		`Bearer realm="https://auth.example.com/token",service="registry"`,
		"basic authentication is refused",
		"size mismatch: got=7 want=8",
	} {
		if got := Clean(text); got != text {
			t.Errorf("Clean(%q) = %q", text, got)
		}
	}
}

func TestTextFromOutsideIsPrintable(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"Grüße, 世界…", "Grüße, 世界…"},
		{" two\nlines\r\nand\ta tab\n", "two lines and a tab"},
		{"\x1b[31mred\x1b[0m", `\x1b[31mred\x1b[0m`},
		{"over\rwritten", `over\rwritten`},
		{"nul\x00 del\x7f c1\u009b", `nul\x00 del\x7f c1\u009b`},
		{"bad\xff\xc3(", `bad\xff\xc3(`},
		{"right\u202eto left", `right\u202eto left`},
		{"line\u2028separator\u0085", `line\u2028separator`},
		{"real \ufffd stays", "real \ufffd stays"},
	} {
		if got := Clean(test.in); got != test.want {
			t.Errorf("Clean(%q)\n got %s\nwant %s", test.in, got, test.want)
		}
	}
}

func TestCutIsAtARune(t *testing.T) {
	for _, test := range []struct {
		in   string
		max  int
		want string
	}{
		{"abcdef", 6, "abcdef"},
		{"abcdefg", 6, "abc…"},
		{"abécdef", 6, "ab…"}, // the byte limit falls into the é
	} {
		if got := string(cut([]byte(test.in), test.max)); got != test.want {
			t.Errorf("cut(%q, %d) = %q, want %q", test.in, test.max, got, test.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("Get \"https://a:b@c/\": Bearer x\n\x1b[31m\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) {
			t.Errorf("Clean(%q) = %q", s, got)
		}
	})
}
