#!/bin/sh
# The three doors that need nothing but curl.
set -eu
url=${PARLEY_URL:-http://localhost:8000}
message=${MESSAGE:-What is a turn?}
json='content-type: application/json'

echo "# /chat: plain text, and a session id that remembers"
curl --fail --silent --show-error --no-buffer -H "$json" "$url/chat" \
    -d "{\"session_id\": \"curl-$$\", \"message\": \"$message\"}"

echo "# /api/v1/chat: typed events, nothing is kept"
curl --fail --silent --show-error --no-buffer -H "$json" "$url/api/v1/chat" -d "{\"message\": \"$message\"}"

echo "# /v1/chat/completions: as OpenAI has it"
model=$(curl --fail --silent "$url/v1/models" | sed 's/.*"data":\[{"id":"\([^"]*\)".*/\1/')
curl --fail --silent --show-error -H "$json" "$url/v1/chat/completions" \
    -d "{\"model\": \"$model\", \"messages\": [{\"role\": \"user\", \"content\": \"$message\"}]}"
echo
