package lint

// rules is the table of rules, by name.
func rules() []*Rule {
	return []*Rule{
		addWithoutChecksum(),
		duplicateTag(),
		missingArgument(),
		mutableTag(),
		outsideContext(),
		redeclared(),
		shadowedAttribute(),
		unknownRule(),
		unknownStage(),
		unreachedTarget(),
		unusedArgument(),
		unusedVariable(),
	}
}
