package reading

import "iter"

// Unit of a number. Always a base unit, so that every value is an integer.
type Unit string

const (
	NoUnit       Unit = ""             // texts and codes
	Count        Unit = "count"        // things
	Permille     Unit = "permille"     // of a whole
	Milli        Unit = "milli"        // thousandths of one
	Bytes        Unit = "bytes"        //
	MilliCelsius Unit = "millicelsius" // thousandths of a degree
	BitPerSecond Unit = "bit_per_s"    //
	UnixMilli    Unit = "unix_ms"      // milliseconds since 1970 UTC
	PPM          Unit = "ppm"          // millionths of one processor core
	Milliseconds Unit = "ms"           //
	Seconds      Unit = "s"            //
	PerMinute    Unit = "per_min"      // revolutions
	// MilliwattHours is what a battery holds.
	MilliwattHours    Unit = "mwh"
	DecibelMilliwatts Unit = "dbm" // strength of a radio signal; 0 is one milliwatt
)

// Kind says which form a value has.
type Kind int

const (
	Number Kind = iota + 1
	Text        // free text of the maker or the system, at most MaxText bytes
	Code        // one of Reading.Codes
)

const (
	// MaxText is the longest text in bytes.
	MaxText = 128
	// MaxInstance is the longest instance in bytes.
	MaxInstance = 48
	// MaxInstances is how many instances of one reading a State may have.
	MaxInstances = 32
)

// Words are one thing's name in the languages of the pages.
type Words struct {
	DE, EN string
}

// A CodeValue is a value that a Code reading may have.
type CodeValue struct {
	Code string // on the wire, in SQL and in the API
	Word Words
}

// Reading is one row of the table.
type Reading struct {
	ID   uint32
	Name string
	Kind Kind
	Unit Unit
	// Min and Max are the range of a Number, both inclusive; a value outside is
	// absent as out of range.
	Min, Max int64
	// DeadBand is the largest change of a Number that is too small to matter.
	DeadBand int64
	// Instanced readings come once per volume, sensor or link and then name it.
	Instanced bool
	Codes     []CodeValue
	Word      Words
	Purpose   Words // why it is read, for the field catalogue
	Basis     Basis
	Class     Class
	Retain    Retain
	Daily     Daily
}

// Moved says whether the change from a to b matters.
func (r Reading) Moved(a, b int64) bool {
	if a > b {
		a, b = b, a
	}
	// Unsigned, since the distance of two int64 need not fit into one.
	return uint64(b)-uint64(a) > uint64(r.DeadBand)
}

// CodeWord is the word for a code, and false for one not in the table.
func (r Reading) CodeWord(code string) (Words, bool) {
	for _, c := range r.Codes {
		if c.Code == code {
			return c.Word, true
		}
	}
	return Words{}, false
}

// All gives the readings in the order of their numbers, which is also a good
// order for showing them.
func All() iter.Seq[Reading] {
	return func(yield func(Reading) bool) {
		for _, r := range table {
			if !yield(r) {
				return
			}
		}
	}
}

// Len is how many readings there are.
func Len() int { return len(table) }

// ByID finds a reading by its number on the wire.
func ByID(id uint32) (Reading, bool) {
	// Numbers are dense from 1, as the golden test holds.
	if id < 1 || uint64(id) > uint64(len(table)) {
		return Reading{}, false
	}
	return table[id-1], true
}

// ByName finds a reading by its name.
func ByName(name string) (Reading, bool) {
	for _, r := range table {
		if r.Name == name {
			return r, true
		}
	}
	return Reading{}, false
}
