// Package hmpb holds the messages of the wire: .proto files and the Go code made
// from them by `make proto`. Nothing here is written by hand but the .proto
// files and this comment; what the messages mean and when they are legal is in
// proto/PROTOCOL.md.
package hmpb
