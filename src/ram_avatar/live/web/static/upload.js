// Uploads a file to the server, and shows the progress.

// Rejects with an error whose message can be shown.
export function upload(kind, file, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `upload/${kind}`);
    request.setRequestHeader("X-Name", encodeURIComponent(file.name));
    if (progress) {
      progress.hidden = false;
      request.upload.onprogress = ({ loaded, total }) => (progress.value = loaded / total);
    }
    request.onloadend = () => {
      if (progress) progress.hidden = true;
      if (request.status === 200) resolve();
      else reject(new Error(reason(request.responseText)));
    };
    request.send(file);
  });
}

function reason(answer) {
  try {
    return JSON.parse(answer).text;
  } catch {
    return "The upload failed. Check that the server is still running.";
  }
}
