package reading

import "time"

// Class says what a value may tell about a person, and from that who may see it
// and how finely. The zero value is none: a row without a class fails the build.
type Class int

const (
	// Thing is about the machine only. Still, when it was told says that the
	// device was on, so times of day need a look all the same.
	Thing Class = iota + 1
	// Use moves when somebody works with the device: whoever sees it by the
	// minute sees when that was.
	Use
	// Identity tells devices apart. It names the device, never the person who
	// has it on loan.
	Identity
)

// Basis is the legal ground on which a value is read.
type Basis int

// Operation is the running and securing of lent devices, a task in the public
// interest. Whether it carries is for the controller (the school) to confirm.
const Operation Basis = 1

// Retain says how long a value is kept.
type Retain int

const (
	Now  Retain = iota + 1 // the latest value, and the reports that brought it for a few days
	Days                   // the same, and one value a day
	Fine                   // the same, and by the minute in blocks
)

// How long each grain is kept unless an owner shortens it (PR-3). Reports are
// needed until their day's row is made, some hours after midnight; the rest is
// for weekends on which nothing works. Their minutes are in the blocks.
const (
	KeepReports = 3 * 24 * time.Hour
	KeepBlocks  = 30 * 24 * time.Hour
	KeepDays    = 24 * 30 * 24 * time.Hour
	// KeepRetired is how long anything that was read stays after all credentials of
	// a device were revoked: time to find it again and to settle a damage.
	KeepRetired = 30 * 24 * time.Hour
)

// Kept says how long the values of a reading are kept, in words.
func (r Reading) Kept() Words {
	if r.Retain == Fine && r.Daily == 0 {
		return Words{"der letzte Stand bis 30 Tage nach der Sperrung, ältere 3 Tage, Minutenwerte 30 Tage", "the latest value until 30 days after revocation, older ones 3 days, by the minute 30 days"}
	}
	return r.Retain.Word()
}

// Daily says which value of a day its daily row holds; the zero value: none.
type Daily int

const (
	Last Daily = iota + 1
	Min
	Max
	Mean
	Sum
)

// Word says the class in words.
func (c Class) Word() Words { return classWords[c] }

// Audience says who may see values of the class. Roles: access.Role.
func (c Class) Audience() Words { return audiences[c] }

// Word says the basis in words.
func (b Basis) Word() Words { return basisWords[b] }

// Word says the retention in words.
func (r Retain) Word() Words { return retainWords[r] }

var classWords = map[Class]Words{
	Thing:    {"Zustand des Geräts", "State of the device"},
	Use:      {"Nutzung des Geräts", "Use of the device"},
	Identity: {"Kennung des Geräts", "Identity of the device"},
}

var audiences = map[Class]Words{
	Thing:    {"Alle Rollen den letzten Stand ohne Uhrzeit und Werte je Tag; nach Minuten nur Support und Verwaltung mit Begründung", "All roles the latest value without its time and values by the day; by the minute only support and administration with a reason"},
	Use:      {"Alle Rollen den letzten Stand ohne Uhrzeit und Werte je Tag; nach Minuten nur Support und Verwaltung mit Begründung", "All roles the latest value without its time and values by the day; by the minute only support and administration with a reason"},
	Identity: {"Alle Rollen", "All roles"},
}

var basisWords = map[Basis]Words{
	Operation: {"Art. 6 Abs. 1 Buchst. e DSGVO: Betrieb und Sicherheit der Leihgeräte", "Art. 6 (1) (e) GDPR: running and securing the loan devices"},
}

var retainWords = map[Retain]Words{
	Now:  {"der letzte Stand bis 30 Tage nach der Sperrung, ältere 3 Tage", "the latest value until 30 days after revocation, older ones 3 days"},
	Days: {"der letzte Stand bis 30 Tage nach der Sperrung, ältere 3 Tage, ein Wert je Tag 24 Monate", "the latest value until 30 days after revocation, older ones 3 days, one value a day for 24 months"},
	Fine: {"der letzte Stand bis 30 Tage nach der Sperrung, Minutenwerte 30 Tage, ein Wert je Tag 24 Monate", "the latest value until 30 days after revocation, by the minute 30 days, one value a day for 24 months"},
}
