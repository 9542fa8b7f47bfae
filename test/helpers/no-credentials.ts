// Runs before every test file: whatever the person running the tests has in the environment, no test can reach a paid
// model with it, and none behaves differently because of it.
for (const name of Object.keys(process.env)) {
  if (/^(?:ANTHROPIC|CLAUDE|OPENAI)_/.test(name)) delete process.env[name];
}
