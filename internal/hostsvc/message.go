// Package hostsvc implements the service side of osbuild's host-service protocol.
//
// osbuild starts an executable with --service-id ID --service-fd FD, where FD is one
// end of a connected pair of AF_UNIX SOCK_SEQPACKET sockets. One packet is one message,
// a JSON object, possibly with file descriptors (SCM_RIGHTS). osbuild sends a Method
// and waits for one Reply or Exception; calls do not overlap. A service lives until
// osbuild closes its end, which may happen while a call is being answered. It ignores
// SIGINT and SIGTERM, which reach the whole process group, so that osbuild can end its
// services in order.
//
// A message larger than a socket's send buffer (/proc/sys/net/core/wmem_max) is sent in a memory file: the packet
// consists of the bytes <args-via-fd>, and the first of its descriptors is the file. osbuild supports this in both
// directions since v129.
//
// [Serve] answers every packet, whatever its content, one call at a time, and closes all received descriptors.
package hostsvc

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Message types. Signals are never sent: osbuild drops those of sources.
const (
	typeMethod    = "method"
	typeReply     = "reply"
	typeException = "exception"
)

// message is the content of a packet.
type message struct {
	Type string `json:"type"`
	Data any    `json:"data"`
}

// Method is a call, the data of a message of type "method".
type Method struct {
	Name string          `json:"name"`
	Args json.RawMessage `json:"args"` // by convention an object; [] when there are none
}

// reply is the data of a message of type "reply".
type reply struct {
	Reply any `json:"reply"`
}

// Exception is the data of a message of type "exception": the call failed in a way
// that its reply cannot express. osbuild raises it as RemoteError and requires all three fields.
type Exception struct {
	Name      string `json:"name"`      // a class name, for example ProtocolError
	Value     string `json:"value"`     // what went wrong
	Backtrace string `json:"backtrace"` // usually empty
}

// Error returns name and value, as osbuild shows them.
func (e *Exception) Error() string { return e.Name + ": " + e.Value }

// protocolError returns the exception that osbuild's own services raise for an invalid message.
func protocolError(format string, args ...any) *Exception {
	return &Exception{Name: "ProtocolError", Value: fmt.Sprintf(format, args...)}
}

// decodeMethod decodes a call. Like osbuild, it ignores unknown fields. The error is an [*Exception], ready to be
// sent as the answer.
func decodeMethod(raw []byte) (Method, error) {
	var m struct {
		Type json.RawMessage
		Data struct {
			Name json.RawMessage
			Args json.RawMessage
		}
	}
	err := json.Unmarshal(raw, &m)
	if syntax, bad := errors.AsType[*json.SyntaxError](err); bad {
		return Method{}, protocolError("message is not JSON: %v", syntax)
	}
	var kind string
	switch {
	case len(m.Type) == 0:
		return Method{}, protocolError("message has no type")
	case json.Unmarshal(m.Type, &kind) != nil:
		return Method{}, protocolError("type of message is not a string")
	case kind != typeMethod:
		return Method{}, protocolError("unknown message type %q", kind)
	case err != nil:
		return Method{}, protocolError("message has no data that is an object")
	}
	method := Method{Args: m.Data.Args}
	switch {
	case len(m.Data.Name) == 0:
		return Method{}, protocolError("method has no name")
	case json.Unmarshal(m.Data.Name, &method.Name) != nil || method.Name == "":
		return Method{}, protocolError("name of method is not a string of at least one character")
	}
	if len(method.Args) == 0 {
		method.Args = json.RawMessage("[]")
	}
	return method, nil
}

// encode returns the message that answers a call. If the reply cannot be encoded, it is an exception.
func encode(result any, failed *Exception) []byte {
	if failed == nil {
		raw, err := json.Marshal(message{Type: typeReply, Data: reply{result}})
		if err == nil {
			return raw
		}
		failed = &Exception{Name: "TypeError", Value: fmt.Sprintf("encode reply: %v", err)}
	}
	raw, err := json.Marshal(message{Type: typeException, Data: failed})
	if err != nil {
		panic(err) // three strings always have a JSON form
	}
	return raw
}
