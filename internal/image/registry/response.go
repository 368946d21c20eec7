package registry

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"osbuild-containers/internal/manifest"
)

// refused returns the error for a response with an error status; the status decides, not the code in the body. It
// returns nil for responses that the library must see (challenges, missing objects, unsatisfiable ranges), after making the
// code in the body agree with the status.
func refused(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusNotFound:
		return normalize(resp)
	case http.StatusRequestedRangeNotSatisfiable:
		return nil
	}
	return &StatusError{Code: resp.StatusCode, Message: errorMessage(drop(resp))}
}

// codes maps a status to the error codes that agree with it. Any other code is replaced by the first of them.
var codes = map[int][]string{
	http.StatusUnauthorized: {"UNAUTHORIZED"},
	http.StatusNotFound:     {"NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN", "BLOB_UPLOAD_UNKNOWN", "MANIFEST_BLOB_UNKNOWN"},
}

// normalize makes the error code in the body one that the library maps to the status. It keeps the registry's message.
func normalize(resp *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, errorBody))
	closer := resp.Body
	if err != nil {
		closer.Close()
		return err
	}
	body := struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(raw), closer}
	resp.Body = body
	e, ok := errorDocument(raw)
	if !ok {
		return nil
	}
	known := codes[resp.StatusCode]
	for _, code := range known {
		if e.Code == code {
			return nil
		}
	}
	code := known[0]
	switch path := resp.Request.URL.Path; {
	case resp.StatusCode != http.StatusNotFound:
	case strings.Contains(path, "/manifests/"):
		code = "MANIFEST_UNKNOWN"
	case strings.Contains(path, "/blobs/"):
		code = "BLOB_UNKNOWN"
	}
	raw, err = json.Marshal(map[string]any{"errors": []map[string]string{{"code": code, "message": hideUsers(cmp.Or(e.Message, e.Code))}}})
	if err != nil {
		return err
	}
	body.Reader = bytes.NewReader(raw)
	resp.Body, resp.ContentLength = body, int64(len(raw))
	return nil
}

// registryError is an error reported by a registry.
type registryError struct{ Code, Message string }

// errorDocument parses the error in the body of a response, in the format of registries or of other servers.
func errorDocument(raw []byte) (registryError, bool) {
	var doc struct {
		Errors           []registryError `json:"errors"`
		Message          string          `json:"message"`
		Detail           string          `json:"detail"`
		Details          string          `json:"details"`
		ErrorDescription string          `json:"error_description"`
		Error            json.RawMessage `json:"error"`
	}
	if manifest.Unmarshal(raw, &doc) != nil {
		var other struct{ Errors []registryError } // decoded separately: fields of another type are ignored
		if manifest.Unmarshal(raw, &other) != nil && len(other.Errors) == 0 {
			return registryError{}, false
		}
		doc.Errors = other.Errors
	}
	if len(doc.Errors) > 0 {
		return doc.Errors[0], true
	}
	var text string
	_ = manifest.Unmarshal(doc.Error, &text)
	if text = cmp.Or(doc.Message, doc.ErrorDescription, doc.Detail, doc.Details, text); text != "" {
		return registryError{Message: text}, true
	}
	return registryError{}, false
}

// ErrContent reports a response that cannot be the requested object, whatever its digest: a login page, an error with
// status 200, or a body of the wrong size.
var ErrContent = errors.New("not the requested content")

// contentError is an error that is ErrContent.
type contentError struct {
	text string
	page bool // not from a registry
}

func (e *contentError) Error() string        { return e.text }
func (e *contentError) Is(target error) bool { return target == ErrContent }

// sniffed is how many bytes of a response are checked.
const sniffed = 512

// unlike returns an error if content that starts with start cannot be the requested object. kind is its Content-Type.
func unlike(what, kind string, start []byte) error {
	trimmed := bytes.TrimLeft(bytes.TrimPrefix(start, []byte("\ufeff")), " \t\r\n")
	if e, ok := errorDocument(trimmed); ok && bytes.Contains(start, []byte(`"errors"`)) {
		return &contentError{text: fmt.Sprintf("got an error with status 200, not %s: %s", what, cmp.Or(e.Message, e.Code))}
	}
	if bytes.HasPrefix(trimmed, []byte("<")) {
		return &contentError{fmt.Sprintf("got %s, not %s: %s", described(kind, "a page"), what, firstWords(trimmed)), true}
	}
	return nil
}

// described returns a Content-Type without its parameters, or instead if it is missing or invalid.
func described(kind, instead string) string {
	if media, _, err := mime.ParseMediaType(kind); err == nil {
		return media
	}
	return instead
}

// firstWords quotes the first line of text.
func firstWords(text []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(text), []byte("\n"))
	const most = 80
	if len(line) > most {
		return strconv.Quote(string(line[:most]) + "...")
	}
	return strconv.Quote(string(line))
}

// checkBlob checks the start of a response that should be the requested range of a blob.
func checkBlob(resp *http.Response, sp *span) error {
	kind := resp.Header.Get("Content-Type")
	want := sp.size - sp.start
	wrong := sp.size >= 0 && resp.ContentLength >= 0 && resp.ContentLength != want
	media := described(kind, "")
	texts := strings.HasPrefix(media, "text/") || strings.HasSuffix(media, "json") || strings.HasSuffix(media, "xml") || strings.HasSuffix(media, "html")
	if !wrong && !texts || sp.start > 0 && !wrong {
		return nil
	}
	start := make([]byte, sniffed)
	n, err := io.ReadFull(resp.Body, start)
	start = start[:n]
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	if sp.start == 0 || wrong {
		if err := unlike("the blob", kind, start); err != nil {
			return err
		}
	}
	if wrong {
		return &contentError{text: fmt.Sprintf("size mismatch: got %d bytes (%s), want %d", resp.ContentLength, described(kind, "no Content-Type"), want)}
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(start), resp.Body), resp.Body}
	return nil
}

// checkDocument checks the start of a response that should be a manifest.
func checkDocument(raw []byte, kind string) error {
	if err := unlike("a manifest", kind, raw); err != nil {
		return err
	}
	if !json.Valid(raw) {
		return &contentError{text: fmt.Sprintf("got %d bytes (%s) that are not a complete manifest: %s", len(raw), described(kind, "no Content-Type"), firstWords(raw))}
	}
	return nil
}
