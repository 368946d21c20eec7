package registry_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

type tokenReply struct {
	Token        string `json:"token"`
	RefreshToken string `json:"refresh_token"`
}

func decodeToken(t *testing.T, resp *http.Response, err error) (int, tokenReply) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var reply tokenReply
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode, reply
}

func withToken(t *testing.T, url, token string) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

const pullScope = "/token?service=test-registry&scope=repository:a/b:pull"

func TestTokenIsGivenForPasswordAndRefreshToken(t *testing.T) {
	reg := registry.Start(t, registry.Token("ann", "secret", time.Minute))
	small.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
	blob := blobURL(reg.URL, "a/b", small)
	resp, err := http.Get(blob)
	if code, _ := decodeToken(t, resp, err); code != 401 || !strings.Contains(resp.Header.Get("Www-Authenticate"), reg.Token.URL+"/token") {
		t.Errorf("without token: %d %q", code, resp.Header.Get("Www-Authenticate"))
	}
	resp, err = http.Get(reg.Token.URL + pullScope)
	if code, _ := decodeToken(t, resp, err); code != 401 {
		t.Errorf("token for nobody: status %d", code)
	}
	withUser := strings.Replace(reg.Token.URL, "://", "://ann:secret@", 1)
	resp, err = http.Get(withUser + pullScope + "&offline_token=true")
	code, reply := decodeToken(t, resp, err)
	if code != 200 || withToken(t, blob, reply.Token) != 200 {
		t.Errorf("token by basic auth: status %d, blob %d", code, withToken(t, blob, reply.Token))
	}
	form := url.Values{
		"grant_type": {"refresh_token"}, "service": {"test-registry"},
		"scope": {"repository:a/b:pull"}, "refresh_token": {reply.RefreshToken},
	}
	resp, err = http.PostForm(reg.Token.URL+"/token", form)
	code, reply = decodeToken(t, resp, err)
	if code != 200 || withToken(t, blob, reply.Token) != 200 {
		t.Errorf("token by refresh token: status %d", code)
	}
	form.Set("refresh_token", "stolen")
	resp, err = http.PostForm(reg.Token.URL+"/token", form)
	if code, _ := decodeToken(t, resp, err); code != 401 {
		t.Errorf("token by wrong refresh token: status %d", code)
	}
	if got := reg.Token.Issued(); got != 2 {
		t.Errorf("%d tokens counted, want 2", got)
	}
}

func TestTokenIsForItsRepositoryOnly(t *testing.T) {
	reg := registry.Start(t, registry.Token("", "", time.Minute))
	small.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
	small.Push(t, reg.URL, "a/other", images.Via(reg.Client()))
	resp, err := http.Get(reg.Token.URL + pullScope + ",push")
	_, reply := decodeToken(t, resp, err)
	if got := withToken(t, blobURL(reg.URL, "a/b", small), reply.Token); got != 200 {
		t.Errorf("its repository: status %d", got)
	}
	if got := withToken(t, blobURL(reg.URL, "a/other", small), reply.Token); got != 401 {
		t.Errorf("another repository: status %d", got)
	}
	push := images.Header("Authorization", "Bearer "+reply.Token)
	if err := images.Push(small, reg.URL, "a/b", push); err == nil {
		t.Error("anonymous token was good for a push")
	}
}

func TestTokenExpires(t *testing.T) {
	reg := registry.Start(t, registry.Token("", "", time.Second))
	small.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
	resp, err := http.Get(reg.Token.URL + pullScope)
	_, reply := decodeToken(t, resp, err)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if withToken(t, blobURL(reg.URL, "a/b", small), reply.Token) == 401 {
			return
		}
	}
	t.Error("still good after a minute")
}
