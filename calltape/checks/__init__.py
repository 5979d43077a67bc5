"""What `calltape check` looks at: each part is one question with an answer and a way to mend it."""
