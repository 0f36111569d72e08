package draft

// PeopleField says in root and targets whose each key is: a signature counts for a
// person, and whoever signs for a new key sees a name. Devices do not read it.
const PeopleField = "x-people"

func (f *File) extra() *map[string]any {
	switch {
	case f.root != nil:
		return &f.root.Signed.UnrecognizedFields
	case f.targets != nil:
		return &f.targets.Signed.UnrecognizedFields
	}
	return nil
}

// SetPeople writes down whose keys are, by the keys' ids.
func (f *File) SetPeople(people map[string]string) error {
	fields := f.extra()
	if fields == nil {
		return ErrKind
	}
	names := map[string]any{}
	for id, person := range people {
		names[id] = person
	}
	if *fields == nil {
		*fields = map[string]any{}
	}
	(*fields)[PeopleField] = names
	f.edited()
	return nil
}

// People are the owners of keys by the keys' ids, as far as the file says.
func (f *File) People() map[string]string {
	out := map[string]string{}
	if f == nil || f.extra() == nil {
		return out
	}
	names, _ := (*f.extra())[PeopleField].(map[string]any)
	for id, v := range names {
		if person, ok := v.(string); ok {
			out[id] = person
		}
	}
	return out
}
