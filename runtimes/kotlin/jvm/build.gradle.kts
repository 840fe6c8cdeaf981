plugins {
    kotlin("jvm")
    application
}

kotlin { jvmToolchain(17) }

dependencies {
    implementation(project(":core"))
    testImplementation(testFixtures(project(":core")))
}

val pictures by tasks.registering(JavaExec::class) {
    description = "Runs the tests of pictures."
    classpath = sourceSets["test"].runtimeClasspath
    mainClass = "segmentanything.jvm.MainKt"
}

tasks.check { dependsOn(pictures) }

// It needs libsam_onnxruntime.so in the java.library.path: `compile` of this folder makes it.
application { mainClass = "segmentanything.jvm.SamSegmentKt" }
