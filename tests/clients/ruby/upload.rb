# Uploads a file in chunks with the generated client, in the order of Katello's calls.
# usage: ruby -I CLIENT/lib upload.rb URL FILE CHUNK_BYTES [USER PASSWORD]; says what came of it as one line of JSON
require 'digest'
require 'json'
require 'tempfile'
require 'uri'
require 'pulpcore_client'

url, file, chunk, user, password = ARGV
uri = URI(url)
PulpcoreClient.configure do |config|
  config.scheme = uri.scheme
  config.host = "#{uri.host}:#{uri.port}"
  config.username = user
  config.password = password
end
uploads, artifacts, tasks = PulpcoreClient::UploadsApi.new, PulpcoreClient::ArtifactsApi.new, PulpcoreClient::TasksApi.new

sha256 = Digest::SHA256.file(file).hexdigest
size = File.size(file)
before = artifacts.artifacts_list(sha256: sha256).results.length

href = uploads.uploads_create({ size: size }).pulp_href
File.open(file, 'rb') do |input|
  offset = 0
  while (piece = input.read(chunk.to_i))
    Tempfile.create('filechunk', :encoding => 'ascii-8bit') do |part|
      part.write(piece)
      part.flush
      uploads.uploads_update("bytes #{offset}-#{offset + piece.bytesize - 1}/#{size}", href, File.new(part.path))
    end
    offset += piece.bytesize
  end
end

task = tasks.tasks_read(uploads.uploads_commit(href, { sha256: sha256 }).task)
until task.finished_at
  sleep 0.1
  task = tasks.tasks_read(task.pulp_href)
end

cancelled = begin
  tasks.tasks_cancel(task.pulp_href, { state: 'canceled' })
  200
rescue PulpcoreClient::ApiError => error
  error.code
end

found = artifacts.artifacts_list(sha256: sha256).results
uploads.uploads_delete(href)
whole = artifacts.artifacts_create(File.new(file)).pulp_href
puts JSON.generate(sha256: sha256, before: before, state: task.state, resources: task.created_resources,
                   artifacts: found.map { |artifact| { href: artifact.pulp_href, sha256: artifact.sha256 } },
                   cancelled: cancelled, whole: whole)
