// Placeholder until this layer's first source.
