#!/bin/sh
# The command line tool `llm`, pointed at Parley by its file of further OpenAI-compatible models.
set -eu
url=${PARLEY_URL:-http://localhost:8000}
message=${MESSAGE:-What is a turn?}
LLM_USER_PATH=$(mktemp -d)
export LLM_USER_PATH
trap 'rm -rf "$LLM_USER_PATH"' EXIT

model=$(curl --fail --silent "$url/v1/models" | sed 's/.*"data":\[{"id":"\([^"]*\)".*/\1/')
cat > "$LLM_USER_PATH/extra-openai-models.yaml" <<END
- model_id: parley
  model_name: "$model"
  api_base: "$url/v1"
END
llm --model parley --no-log --key guest "$message"
